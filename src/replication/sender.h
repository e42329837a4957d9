#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "group/group.h"
#include "journal/sequential_reader.h"
#include "replication/link.h"
#include "replication/pair_record.h"

namespace tidemark::replication {

struct NodeName {
  NodeIdentity identity{};
  std::string name{};
  std::vector<std::string> addresses{};  // where its replication service listens, preferred first
  std::uint64_t instance = 0;            // of this run
};

// The logical units that hold the group's volumes on this node, for the other node's pair table.
std::vector<format::UnitOfVolume> units_of(const group::Group& group);

struct CopyProgress {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
};

// The primary's side of a pair: sends the journal in append order, and during the first copy the volumes'
// blocks between the batches, each chunk read at the last entry sent before it. Connects again by itself when
// the link is lost. Ends when the pair is suspended or its Pairs lets it go.
//
// What it sends is durable here; what the peer acknowledges is durable there, and becomes the group's
// `peer_has`.
class Sender {
 public:
  enum class Outcome {
    kLinkUp,          // the peer is there; nothing goes to it before let_stream() (run() goes on)
    kLinkDown,        // the peer went away (run() goes on)
    kDistrusted,      // this side or the peer does not accept the other's certificate (run() goes on)
    kTakenOver,       // the peer takes writes, in an epoch of its own
    kSuspendedThere,  // the peer is suspended
    kDeletedThere,    // the peer has dissolved the pair
    kCopied,          // the first copy is complete (run() goes on)
    kRefused,         // the peer does not take this pair, or suspended it by an error; `reason` says why
    kNeedsCopy,       // entries that the peer lacks are no longer in the journal, or stand on such
  };
  // Called on events; must not await.
  using Report = std::function<void(Outcome, std::string reason)>;
  // Called with a mark that was asked for at the peer; must not await.
  using MarkAsked = std::function<void(format::MarkRequest)>;

  // Called when the link goes up or down and when the peer has more; must not await.
  using Moved = std::function<void()>;
  // What the peer of a synchronous pair may count on: `why`, `since`, and the moment before which no FLUSH is
  // answered without it.
  struct Promise {
    format::NotInSync why = format::NotInSync::kCatchingUp;
    WallTime since{};
    MonotonicTime holds_until{};
  };
  using GivePromise = std::function<Promise()>;
  struct Calls {
    Report report{};
    MarkAsked mark_asked{};
    Moved moved{};
    GivePromise promise{};
  };

  // `number` tells this sender's reports from those of one before it.
  // `self` outlives it.
  // What goes over its links is counted in `traffic`.
  Sender(io::Environment environment, const NodeName& self, group::Group& group, PairRecord record,
         std::uint64_t number, std::shared_ptr<LinkTraffic> traffic, Calls calls);
  std::uint64_t number() const { return number_; }

  // Makes the first connection, so that the command that wants it can say what is wrong. `intent` is kCreate,
  // kReplace, kSkip, kResync or kFollow; with `overrules` the peer's own epoch gives way.
  io::Task<Result<format::Welcome>> introduce(format::HelloIntent intent, bool overrules);
  // The pair's record says that the peer is there.
  void let_stream();
  // Of a pair that resyncs: everything that differed was written again by `point`. The peer is told when it
  // has been sent that far, and again over each link until it says that its window is whole.
  void end_resync(LogId point);
  bool resync_ended() const { return resync_end_.has_value(); }
  // Streams until the pair ends; spawned once.
  io::Task<void> run();
  // The promise has changed: the peer is told at once.
  void tell_promise() { promise_moved_.wake_all(); }
  // What the hello says: where any of it is another than before, the link is made anew.
  void set_terms(std::optional<format::SyncTerms> terms, format::Compression compression);
  // Of a copy's chunks, from now on; 0: no limit.
  void set_copy_rate(std::uint64_t bytes_per_second);
  // The answer to a mark that was asked for; nothing is sent when the link is down by now.
  io::Task<void> answer_mark(format::MarkReply reply);
  // Sends a last message if the link is up, without waiting long for it, and closes the link.
  io::Task<void> say_goodbye(format::LinkMessage message);

  bool link_up() const { return link_ != nullptr; }
  // The link is up, and nothing is sent before let_stream().
  bool waits_to_be_let() const { return link_ != nullptr && !may_stream_; }
  WallTime link_since() const { return link_since_; }
  LogId acked() const { return acked_; }
  LogId sent() const { return sent_; }
  bool copying() const { return copying_; }
  // Sent, and not known to be durable at the peer; and whether there is anything that was not sent.
  std::uint64_t unacked_bytes() const { return unacked_bytes_; }
  bool all_sent() const { return link_ != nullptr && sent_ == group_.journal().durable(); }
  CopyProgress copy_progress() const { return progress_; }
  LogId peer_floor() const { return peer_floor_; }
  // Whose certificate the peer has shown; empty until it has.
  const std::string& peer_certificate() const { return record_.peer_certificate; }
  // As the peer told last; empty until it has.
  const std::vector<format::UnitOfVolume>& peer_units() const { return peer_units_; }
  // Where what follows acked() begins in the journal; none until a link was up.
  Place acked_place() const { return acked_place_; }
  // The timer value of the oldest entry that was sent and not acknowledged.
  std::optional<WallTime> oldest_unacked() const;
  const std::string& last_error() const { return last_error_; }
  // Wakes when acked() moves or the link goes up or down.
  io::WaitQueue& moved() { return moved_; }

 private:
  struct Unacked {
    LogId last{};
    Place next{};
    std::uint64_t bytes = 0;
    WallTime timer{};
  };
  struct CopyCursor {
    std::vector<group::VolumeShape> volumes{};  // by number
    std::size_t volume = 0;
    std::uint64_t offset = 0;
    // Chunks of before a break were read up to here at most: the copy is of no earlier point.
    LogId not_before{};
  };
  io::Task<Result<format::Welcome>> connect(format::HelloIntent intent, bool overrules);
  io::Task<Result<format::Welcome>> say_hello(std::shared_ptr<Link> link, format::HelloIntent intent,
                                              bool overrules);
  io::Task<Result<void>> prepare_copy(format::Hello* hello);
  void begin_copy_at(const format::CopyCursor& copied);
  io::Task<bool> connected();
  io::Task<void> wait_until_let();
  io::Task<Result<void>> stream();
  io::Task<Result<void>> tell_units();
  Result<void> take_message(const Message& message);
  io::Task<void> receive_acks(std::shared_ptr<Link> link);
  io::Task<Result<bool>> send_next_batch();
  io::Task<Result<bool>> send_next_chunk();
  io::Task<Result<bool>> tell_resync_end();
  std::optional<LogId> left_at(LogId point) const;
  io::Task<Result<Place>> place_after(LogId received);
  void take_ack(const format::Ack& ack);
  void link_lost(const std::string& why);
  void not_connected(const Error& error);
  void moved_on();
  io::Task<void> keep_promising(std::shared_ptr<Link> link);

  io::Environment environment_;
  const NodeName& self_;
  group::Group& group_;
  PairRecord record_;
  std::uint64_t number_;
  std::shared_ptr<LinkTraffic> traffic_;
  Calls calls_;
  std::shared_ptr<Link> link_;
  WallTime link_since_{};
  std::string last_error_;
  bool may_stream_ = false;
  bool copying_ = false;
  CopyCursor cursor_;
  std::optional<LogId> resync_end_;
  bool told_resync_end_ = false;  // over this link
  CopyProgress progress_;
  MonotonicTime chunk_due_{};  // not before, for the rate
  LogId sent_{};
  LogId acked_{};
  LogId peer_floor_{};
  std::vector<format::UnitOfVolume> told_units_;
  std::vector<format::UnitOfVolume> peer_units_;
  Place next_{};
  journal::SequentialReader batches_;
  Place acked_place_{};
  std::deque<Unacked> unacked_;
  std::uint64_t unacked_bytes_ = 0;
  io::WaitQueue moved_;
  // Of a synchronous pair: the newest acknowledgement, by the peer's clock, and when it came.
  std::int64_t heard_ns_ = 0;
  MonotonicTime heard_at_{};
  io::WaitQueue promise_moved_;
};

}  // namespace tidemark::replication
