#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control/http_channel.h"

namespace tidemark::control {

// A client, from when it was accepted until it is gone.
struct Guest {
  std::unique_ptr<Channel> channel;
  std::string client;        // who it is, as fields of a line: "client=192.0.2.7:41234"
  std::size_t requests = 0;  // that it was given an answer to
};

// Connections at once that one address keeps before and between their requests.
inline constexpr std::size_t kGuestsMax = 256;
// From when a connection was accepted until the headers of its first request are here; of a later request,
// from its first byte. A packet that is lost on the way costs a second and more (RFC 6298, section 2).
inline constexpr std::chrono::seconds kArrivalTimeMax{10};
// For a client to begin with its next request after an answer.
inline constexpr std::chrono::seconds kSilenceTimeMax{1};
// For a client to read what was written last, and hang up.
inline constexpr std::chrono::seconds kLeaveTimeMax{1};
// Headers of one request, its first line included.
inline constexpr std::size_t kHeaderBytesMax = 64 << 10;

// Where clients wait until their request's headers are here: one thread shakes hands with all of them and
// reads their headers, so that a client that is slow, or means to be, holds nobody up and no other thread.
// When there are too many, the one that has waited longest goes: who is quick gets through however many are
// slow.
class Lobby {
 public:
  struct Callbacks {
    // What TLS with the next client is done with; null: it is spoken with in the clear.
    std::function<tls::SslPointer()> make_ssl;
    // Takes a guest whose headers are here, have ended or are too many. False, and it is left as it is:
    // there is no room now; wake() says when there may be.
    std::function<bool(std::unique_ptr<Guest>& guest)> serve;
    // A handshake failed.
    std::function<void(const Guest& guest, const tls::Refusal& refusal)> on_refused;
    // A guest that had not said what it wants was sent away: it took too long, or others came.
    std::function<void(const Guest& guest)> on_dropped;
    // What is said, in the clear, to who speaks HTTP where TLS is wanted, or the other way round.
    std::string wrong_protocol_answer{};
  };

  // The callbacks are called on the lobby's thread.
  explicit Lobby(Callbacks callbacks);
  ~Lobby();
  Lobby(const Lobby&) = delete;
  Lobby& operator=(const Lobby&) = delete;

  // From any thread, without waiting. A new client, whose socket it owns from now on.
  void admit(int socket);
  // One that got an answer and may ask again.
  void readmit(std::unique_ptr<Guest> guest);
  // One that is to read its answer and go.
  void see_off(std::unique_ptr<Guest> guest);
  void wake();

  // Closes every connection that is here, and those that come later at once. Again: nothing.
  void stop();

 private:
  enum class State { kShaking, kReading, kReady, kLeaving };
  struct Place {
    std::unique_ptr<Guest> guest;
    State state = State::kShaking;
    Deadline deadline;
    Channel::Step waits_for = Channel::Step::kDone;  // kDone: it has not been looked at yet
    bool has_begun = false;                          // to say what it wants
    std::size_t scanned = 0;                         // of the unread bytes, for the end of the headers
  };
  void work();
  void enter(Place place);
  void take_arrivals();
  // What is ready is moved on; those that are done with go.
  void go_on();
  // False: the guest is gone.
  bool advance(Place& place);
  bool shake(Place& place);
  bool read(Place& place);
  bool leave(Place& place);
  void begin_leaving(Place& place);
  bool pass_on(Place& place);
  void drop_overdue();
  void make_room();
  void wait();

  const Callbacks callbacks_;
  const int event_;          // an eventfd, for what comes from other threads
  std::list<Place> places_;  // the oldest first

  std::mutex mutex_;
  std::vector<Place> arrivals_;
  bool stopping_ = false;
  std::thread thread_;
};

// Who is at the other end of a socket, as fields of a line: the user and process that made the connection to
// a unix socket, which the kernel vouches for, or an address.
std::string client_fields(int socket);

}  // namespace tidemark::control
