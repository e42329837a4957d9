#include "control/http_lobby.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/log_field.h"
#include "base/threads.h"

namespace tidemark::control {
namespace {

using Step = Channel::Step;

// The HTTP library takes a line of nothing but this for the end of the headers.
constexpr std::string_view kHeadersEnd = "\n\r\n";
// How a client begins that speaks TLS (RFC 8446, section 5.1): a record of the type "handshake".
constexpr char kTlsHandshake = 22;

Deadline in(std::chrono::seconds time) {
  return std::chrono::steady_clock::now() + time;
}

}  // namespace

std::string client_fields(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::getpeername(socket, generic, &length) != 0) return log_field("client", "unknown");
  if (address.ss_family == AF_UNIX) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return log_field("client", "unix");
    return log_field("client", "unix") + " " + log_field("uid", peer.uid) + " " +
           log_field("pid", static_cast<std::uint64_t>(peer.pid));
  }
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(generic, length, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return log_field("client", "unknown");
  }
  const std::string text(host.data());
  const bool is_v6 = text.find(':') != std::string::npos;
  return log_field("client", (is_v6 ? "[" + text + "]" : text) + ":" + port.data());
}

Lobby::Lobby(Callbacks callbacks)
    : callbacks_(std::move(callbacks)), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  TM_ASSERT(event_ >= 0);
  thread_ = start_thread([this] { work(); });
}

Lobby::~Lobby() {
  stop();
  ::close(event_);
}

void Lobby::admit(int socket) {
  Place place;
  place.guest = std::make_unique<Guest>();
  place.guest->client = client_fields(socket);
  place.guest->channel = std::make_unique<Channel>(socket);
  place.deadline = in(kArrivalTimeMax);
  enter(std::move(place));
}

void Lobby::readmit(std::unique_ptr<Guest> guest) {
  Place place;
  place.guest = std::move(guest);
  place.state = State::kReading;
  place.deadline = in(kSilenceTimeMax);
  enter(std::move(place));
}

void Lobby::see_off(std::unique_ptr<Guest> guest) {
  Place place;
  place.guest = std::move(guest);
  begin_leaving(place);
  enter(std::move(place));
}

void Lobby::enter(Place place) {
  {
    const std::lock_guard lock(mutex_);
    // More than there will be room for has come since the thread looked last.
    if (stopping_ || arrivals_.size() >= kGuestsMax) return;
    arrivals_.push_back(std::move(place));
  }
  wake();
}

void Lobby::wake() {
  const std::uint64_t one = 1;
  (void)!::write(event_, &one, sizeof one);
}

void Lobby::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  arrivals_.clear();
  places_.clear();
}

void Lobby::work() {
  while (true) {
    take_arrivals();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    go_on();
    drop_overdue();
    wait();
  }
}

void Lobby::take_arrivals() {
  std::vector<Place> arrivals;
  {
    const std::lock_guard lock(mutex_);
    arrivals.swap(arrivals_);
  }
  for (Place& place : arrivals) {
    if (places_.size() >= kGuestsMax) make_room();
    if (place.state == State::kShaking) {
      tls::SslPointer ssl = callbacks_.make_ssl();
      if (ssl != nullptr) place.guest->channel->begin_tls(std::move(ssl));
    }
    places_.push_back(std::move(place));
  }
}

// One that leaves has had its answer; one that is ready has said what it wants, and so is the last to go.
void Lobby::make_room() {
  auto chosen = places_.begin();
  for (const State state : {State::kLeaving, State::kShaking, State::kReading}) {
    const auto found = std::find_if(places_.begin(), places_.end(),
                                    [state](const Place& place) { return place.state == state; });
    if (found == places_.end()) continue;
    chosen = found;
    break;
  }
  if (chosen->state != State::kLeaving) callbacks_.on_dropped(*chosen->guest);
  places_.erase(chosen);
}

void Lobby::go_on() {
  for (auto place = places_.begin(); place != places_.end();) {
    const bool stays = place->waits_for != Step::kDone || advance(*place);
    place = stays ? std::next(place) : places_.erase(place);
  }
}

bool Lobby::advance(Place& place) {
  if (place.state == State::kShaking && !shake(place)) return true;
  if (place.state == State::kReading && !read(place)) return true;
  if (place.state == State::kReady) return !pass_on(place);
  return leave(place);
}

// True: done.
bool Lobby::shake(Place& place) {
  const Step step = place.guest->channel->shake_hands();
  if (step == Step::kDone) {
    place.state = State::kReading;
    return true;
  }
  if (step != Step::kEnded && step != Step::kFailed) {
    place.waits_for = step;
    return false;
  }
  const tls::Refusal& refusal = place.guest->channel->refusal();
  callbacks_.on_refused(*place.guest, refusal);
  if (refusal.kind == tls::Refusal::Kind::kNotTls) {
    place.guest->channel->write_in_the_clear(callbacks_.wrong_protocol_answer);
  }
  begin_leaving(place);
  return true;
}

// True: the headers are here, or there will be no more of them.
bool Lobby::read(Place& place) {
  Channel& channel = *place.guest->channel;
  while (true) {
    const std::string_view unread = channel.unread();
    const std::size_t begin = place.scanned < kHeadersEnd.size() ? 0 : place.scanned - kHeadersEnd.size();
    const bool here = unread.find(kHeadersEnd, begin) != std::string_view::npos;
    place.scanned = unread.size();
    if (here || unread.size() >= kHeaderBytesMax) break;
    if (!channel.is_tls() && unread.starts_with(kTlsHandshake)) {
      channel.write_in_the_clear(callbacks_.wrong_protocol_answer);
      begin_leaving(place);
      return true;
    }
    if (!unread.empty() && !place.has_begun) {
      place.has_begun = true;
      if (place.guest->requests > 0) place.deadline = in(kArrivalTimeMax);
    }
    const Step step = channel.receive();
    if (step == Step::kDone) continue;
    if (step == Step::kWantsRead || step == Step::kWantsWrite) {
      place.waits_for = step;
      return false;
    }
    if (unread.empty()) {  // it said nothing, or nothing more
      begin_leaving(place);
      return true;
    }
    break;
  }
  place.state = State::kReady;
  return true;
}

void Lobby::begin_leaving(Place& place) {
  place.guest->channel->end_writing();
  place.state = State::kLeaving;
  place.deadline = in(kLeaveTimeMax);
}

// False: it is gone.
bool Lobby::leave(Place& place) {
  constexpr int kPiecesAtOnce = 64;  // others wait meanwhile
  for (int i = 0; i < kPiecesAtOnce; ++i) {
    const Step step = place.guest->channel->discard();
    if (step == Step::kDone) continue;
    place.waits_for = step;
    return step == Step::kWantsRead;
  }
  place.waits_for = Step::kWantsRead;
  return true;
}

// True: it was taken, and its place is empty.
bool Lobby::pass_on(Place& place) {
  return callbacks_.serve(place.guest);
}

void Lobby::drop_overdue() {
  const Deadline now = std::chrono::steady_clock::now();
  for (auto place = places_.begin(); place != places_.end();) {
    // Who is ready waits for us.
    const bool overdue = place->state != State::kReady && place->deadline <= now;
    const bool is_idle = place->state == State::kLeaving || place->guest->requests > 0;
    if (overdue && !is_idle) callbacks_.on_dropped(*place->guest);
    place = overdue ? places_.erase(place) : std::next(place);
  }
}

void Lobby::wait() {
  std::vector<pollfd> polled{{event_, POLLIN, 0}};
  std::optional<Deadline> first;
  for (const Place& place : places_) {
    if (place.state == State::kReady) continue;  // wake() tells that there is room
    const bool writes = place.waits_for == Step::kWantsWrite;
    polled.push_back({place.guest->channel->socket(), static_cast<short>(writes ? POLLOUT : POLLIN), 0});
    first = first.has_value() ? std::min(*first, place.deadline) : place.deadline;
  }
  int limit_ms = -1;
  if (first.has_value()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*first - std::chrono::steady_clock::now());
    limit_ms = static_cast<int>(std::max<std::int64_t>(0, left.count()));
  }
  if (::poll(polled.data(), polled.size(), limit_ms) < 0) return;  // EINTR
  if (polled[0].revents != 0) {
    std::uint64_t count = 0;
    (void)!::read(event_, &count, sizeof count);
  }
  std::size_t at = 1;
  for (Place& place : places_) {
    if (place.state == State::kReady) continue;
    if (polled[at++].revents != 0) place.waits_for = Step::kDone;
  }
}

}  // namespace tidemark::control
