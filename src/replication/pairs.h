#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "group/group.h"
#include "replication/compare.h"
#include "replication/pair_record.h"
#include "replication/pair_states.h"
#include "replication/sender.h"

namespace tidemark::replication {

// What pairs need of the node they run in.
class PairHost {
 public:
  virtual ~PairHost() = default;
  virtual group::Group* find_group(const std::string& name) = 0;
  // The same, for work that awaits: it stays as long as it is held. Null when there is none.
  virtual std::shared_ptr<group::Group> hold_group(const std::string& name) const = 0;
  // Makes the secondary's group and registers it; kExists when the name or the identity is taken.
  virtual io::Task<Result<group::Group*>> create_secondary(format::Hello hello, group::GroupState state) = 0;
  // The RAID group for it: the one that the primary names, or where the group lay that it replaces, or the
  // first. Asked before anything gives way to it: kNoSpace when its log volume would not fit there.
  virtual Result<std::string> place_for(const format::Hello& hello) const = 0;
  // Closes the group and gives its space back.
  virtual io::Task<Result<void>> drop_group(std::string name) = 0;
  // Ends the connections to the group's exports, views excepted, before its live state changes under them.
  virtual io::Task<void> disconnect_exports(std::string name) = 0;
  // A word for the node's log.
  virtual void log(const std::string& event, const std::string& group, const std::string& text) = 0;
};

// How long an entry is waited for that the peer is to have, at most.
inline constexpr Duration kReceivedTimeout = Duration::seconds(600);

// What the peer lacks, with the link up or down, streaming or suspended.
struct PairLag {
  std::uint64_t entries = 0;
  // Of the journal, frames and padding included. Exact while the place of the peer's newest entry is known;
  // else from the beginning of the segment that holds it, so up to a segment too much. What the journal let
  // go (a pair that needs a copy) is not in it.
  std::uint64_t bytes = 0;
  double seconds = 0;  // since the first entry that the peer lacks was appended
};

// Of a synchronous pair; its terms, and since when it is in sync or not, are in the record.
struct SyncStatus {
  bool in_sync = false;  // now: nothing that was acknowledged to a FLUSH is missing on the secondary
  bool lost = false;     // primary side: the secondary counts as lost
  std::size_t flushes_waiting = 0;
};

struct PairStatus {
  PairRecord record{};
  bool link_up = false;
  WallTime link_since{};
  LogId sent{};
  LogId received{};    // primary: durable at the peer. Secondary: durable here
  LogId peer_floor{};  // primary side: the oldest point that the secondary can show, as it told last
  PairLag lag{};       // primary side
  CopyProgress copy{};
  std::string
      link_error{};  // why there is no link, or why somebody was turned away who claimed to be the peer
  std::vector<format::UnitOfVolume> peer_units{};  // empty while not known
  SyncStatus sync{};
  LinkTraffic traffic{};  // of every link, those for questions included, since the node started
};

// Whose branch goes on after the two nodes wrote apart.
enum class Continues : std::uint8_t {
  kWhoeverWroteAlone,  // the primary's, when the secondary has no epoch of its own; else it has to be said
  kPrimary,
};

// Where the copy of a group lies on its peer.
struct PeerPlace {
  std::string group{};
  std::string raid{};  // RAID group; empty: as the peer sees fit
};

// What is absent stays.
struct PairChange {
  std::optional<bool> sync{};
  std::optional<format::PeerLoss> on_loss{};
  std::optional<Duration> loss_after{};
  std::optional<std::uint64_t> copy_rate_bytes{};  // in a second; 0: no limit, else at least kCompareRateMin
  std::optional<format::Compression> compression{};
};
// The terms of a pair that has `terms` now; nothing of an asynchronous one.
Result<std::optional<format::SyncTerms>> changed_terms(std::optional<format::SyncTerms> terms,
                                                       const PairChange& change);

// What a secondary took over with.
struct Takeover {
  Epoch epoch{};                 // its own, which takes the writes
  group::ResolvedPoint point{};  // where it continues: the last entry held here
  LogId primary_head{};          // the primary's newest entry, as it told last; none when it never did
  // The primary may have acknowledged writes that are not here; in a synchronous pair, to a FLUSH.
  bool may_be_behind = false;
  WallTime behind_since{};  // when the secondary was last known to have everything of that kind
};

// A restore from the other node, from its plan to its end.
class PeerQuery;
struct Refill {
  std::shared_ptr<group::Group> group{};
  std::shared_ptr<PeerQuery> query{};
  std::string peer_name{};
  group::ResolvedPoint point{};  // on the other node, which keeps it readable as long as the query lives
  LogId base{};                  // what the plan counted the difference from
  std::map<VolumeId, std::uint64_t> differing_blocks{};
  std::uint64_t moved_bytes = 0;
};

// The pairs of a node: their records, the senders of those it is primary of, the receivers of those it is
// secondary of, and the commands on them. States and what moves them are in docs/pair-states.md.
//
// Commands on one group wait for each other; commands on different groups do not. Owned by the node; reactor
// thread only. Every command answers when its effect is durable here.
class Pairs {
  friend class PeerCopies;

 public:
  Pairs(io::Environment environment, NodeName self, PairHost& host);
  ~Pairs();
  // Where peers reach this node; they are told, so that roles can be swapped. Until this is known, the pairs
  // that were taken up connect to nobody.
  void set_addresses(std::vector<std::string> addresses);

  // Accepts secondaries' side connections until the listener closes.
  io::Task<void> serve(std::unique_ptr<io::Listener> listener);
  // Takes up the pair of a group that was opened.
  io::Task<Result<void>> adopt(std::string group);
  // Ends everything; nothing is told to the peers.
  io::Task<void> stop();
  // Before the group goes: its sender and receiver end.
  io::Task<void> forget(std::string group);

  // Asynchronous unless `terms` say otherwise.
  io::Task<Result<void>> create(std::string group, std::string address, PeerPlace place, PairChange terms);
  // kInvalid for terms of a pair that is, or becomes, asynchronous. While a copy runs, its rate and the
  // compression alone.
  io::Task<Result<void>> change(std::string group, PairChange change);
  io::Task<Result<void>> suspend(std::string group);
  // What the peer lacks follows from the journal. When that no longer holds it, the peer goes on behind a gap
  // and what differs is written again, in the background; with `give_up_window` the volumes are copied anew.
  io::Task<Result<void>> resync(std::string group, Continues continues, bool give_up_window);
  io::Task<Result<void>> dissolve(std::string group);
  // The secondary goes on in an epoch of its own and takes writes. While the link is up only with `force`.
  io::Task<Result<Takeover>> take_over(std::string group, bool force);
  // The secondary's branch continues and the roles are swapped. On a primary in PAIR: hands over once the
  // secondary has everything. Answers when the roles are swapped on both; said again, it goes on where a stop
  // left it. On a secondary that has taken over, with `give_up_window`, the volumes of an old primary that
  // cannot go back to the last common entry are copied anew, and what it can show goes with that.
  io::Task<Result<void>> swap(std::string group, bool give_up_window);
  // A primary that waits for its peer since its start takes writes; kRefused without `alone` while it waits.
  io::Task<Result<void>> serve(std::string group, bool alone);
  // A restore here: refused in PAIR on the secondary; on the primary, when the secondary cannot follow.
  Result<void> check_restore(const group::Group& group, LogId target) const;
  // The restore. On a suspended secondary it opens an epoch of its own there, which takes writes from then
  // on.
  io::Task<Result<journal::Appended>> restore(std::string group, group::RestorePlan plan);
  // A mark that is asked for at the secondary. With the link up it is the primary's next mark, and this
  // answers when it is durable here; else it names the newest entry held here, and is provisional until the
  // primary knows it.
  io::Task<Result<group::Mark>> mark_at_secondary(std::string group, format::MarkRecord mark);
  // True on a primary in PAIR: points that it can no longer show may be restored from the other node.
  bool can_refill(const std::string& group) const;
  // Resolves the point there and counts what differs. kUnsupported when the volumes were others then.
  io::Task<Result<Refill>> plan_refill(std::string group, std::string point, bool before);
  // Moves the blocks that differ into a new epoch; one that fails leaves the group as it was. Ends the
  // connections to the live exports; who comes meanwhile waits.
  io::Task<Result<journal::Appended>> refill(std::string group, Refill refill);
  // Begins to compare this node with the other one, in the background. kBusy while it is done already;
  // kRefused for a repair that is not asked of the primary in PAIR.
  io::Task<Result<void>> compare(std::string group, CompareOptions options);
  // What a verification on this node may take from the other one. kRefused as a comparison is.
  Result<std::shared_ptr<group::OtherCopies>> other_copies(const std::string& group);
  // kRefused when none runs.
  Result<void> stop_comparing(const std::string& group);
  // Of the one that runs, else the last one since the node started; nothing without a pair.
  std::optional<CompareProgress> comparison(const std::string& group) const;
  // Waits until the peer holds `id`. kRefused without a pair or while it is suspended.
  // kTimeout after kReceivedTimeout, which is the most that a request may ask to be waited for.
  io::Task<Result<void>> wait_received(std::string group, LogId id);

  // What the other node can show, as it tells just now. kClosed while the link is down; what the connection
  // to ask it fails with, after at most two seconds.
  io::Task<Result<format::GroupWindow>> peer_window(std::string group);
  // Nothing without a pair.
  std::optional<PairStatus> status(const std::string& group) const;

 private:
  struct Entry;
  class Receiver;
  Entry* find(const std::string& group);
  const Entry* find(const std::string& group) const;
  io::Task<Result<void>> save(Entry* entry, PairState state, std::string reason, LogId peer_has);
  io::Task<Result<void>> save_as(Entry* entry, PairState state, std::string reason, LogId peer_has,
                                 group::Role role);
  // Whether the group takes writes, as far as the pair has a say in it.
  void hold(Entry* entry);
  // sync.cc: what FLUSHes of a synchronous pair wait for.
  void attach_gate(const Entry& entry);
  void release_gate(const Entry& entry);
  void peer_moved(const std::string& group, std::uint64_t sender);
  void settle_sync(Entry& entry);
  void settle_streaming(Entry& entry);
  bool has_caught_up(const Entry& entry) const;
  void change_sync(Entry& entry, format::NotInSync why);
  io::Task<void> save_sync(std::string group);
  io::Task<void> watch_sync();
  std::optional<MonotonicTime> loss_due(const Entry& entry) const;
  void lose(Entry& entry);
  Error peer_lost(const Entry& entry) const;
  Sender::Promise promise_of(const std::string& group) const;
  SyncStatus sync_status(const Entry& entry) const;
  bool counts_as_in_sync(const Entry& entry) const;
  io::Task<Result<void>> take_promise(Entry* entry, format::InSync word);
  bool take_terms(Entry& entry, const std::optional<format::SyncTerms>& terms);
  void judge_takeover(const Entry& entry, Takeover& taken) const;
  io::Task<Result<void>> save_record(Entry* entry);
  io::Task<void> set_alone(Entry* entry, bool alone);
  io::Task<void> note(Entry* entry);
  // Whether the pair has learnt by its sender whose certificate the peer has.
  static bool learn_certificate(Entry* entry);
  void start_sender(Entry* entry, std::unique_ptr<Sender> sender);
  io::Task<void> stop_sender(Entry* entry, std::optional<format::LinkMessage> message);
  io::Task<io::Mutex::Guard> lock(std::string group);
  std::unique_ptr<Sender> make_sender(const Entry& entry, const PairRecord& record);
  io::Task<void> link_is_up(Entry* entry);
  io::Task<void> handle(std::string group, std::uint64_t sender, Sender::Outcome outcome, std::string reason);
  io::Task<void> watch_space();
  io::Task<void> watch_lag();
  io::Task<void> look_up_owed(std::string group);
  PairLag lag_of(const Entry& entry) const;
  io::Task<void> suspend_for_space(std::string group);
  io::Task<void> give_way_for_space(std::string name);
  io::Task<void> receive(std::unique_ptr<io::Stream> stream);
  io::Task<void> turn_away(std::shared_ptr<Link> link, format::Hello hello, Error why);
  io::Task<Result<Entry*>> welcome(std::shared_ptr<Link> link, format::Hello hello);
  io::Task<Result<void>> give_way(Entry* entry);
  io::Task<Result<void>> turn_to(Entry* entry, LogId fork);
  io::Task<Result<Entry*>> welcome_new(format::Hello hello);
  io::Task<Result<Entry*>> welcome_back(format::Hello hello);
  // The pair of a primary that comes back, whose earlier connection has ended by then.
  io::Task<Result<Entry*>> check_returning(const format::Hello* hello);
  io::Task<Result<Entry*>> welcome_follow(format::Hello hello, std::string peer_address);
  io::Task<void> receive_request(std::shared_ptr<Link> link, format::Hello hello, std::string peer_address);
  io::Task<Result<void>> accept_hand_over(format::Hello hello, std::string peer_address,
                                          std::string certificate);
  Result<void> check_shown(const format::Hello& hello, const std::string& certificate) const;
  Result<void> check_still_asked(const std::string& group, MonotonicTime arrived) const;
  io::Task<void> turn_later(std::string group);
  io::Task<Result<void>> become_primary(Entry* entry, bool give_up_window);
  Error cannot_follow(Entry* entry, Error why, bool may_be_replaced) const;
  bool may_be_replaced(const Entry& entry, const format::Hello& hello) const;
  // It takes no writes, `why`, and nobody has it open.
  io::Task<void> stop_old_primary(Entry* entry, Error why);
  Result<void> check_not_refilling(const Entry& entry) const;
  io::Task<void> make_asked_mark(std::string group, std::uint64_t sender, format::MarkRequest request);
  io::Task<Result<group::Mark>> ask_for_mark(std::string group, format::MarkRecord mark);
  io::Task<void> offer_provisional_marks(std::shared_ptr<Link> link, Entry* entry);
  io::Task<Result<void>> hand_over(Entry* entry);
  // A connection for one purpose, welcomed.
  io::Task<Result<std::shared_ptr<Link>>> introduce(Entry* entry, format::HelloIntent intent, LogId start);
  // What goes over it is counted in `traffic`.
  io::Task<Result<std::shared_ptr<Link>>> introduce(PairRecord record, GroupIdentity group, std::string name,
                                                    format::HelloIntent intent, LogId start, Duration limit,
                                                    std::shared_ptr<LinkTraffic> traffic);
  Error no_such_pair(const std::string& group) const;
  Result<format::Hello> from_itself(format::Hello hello, const std::string& client) const;
  // The welcome or the refusal of a connection that carries requests.
  io::Task<Result<void>> answer_request(std::shared_ptr<Link> link, const format::Hello& hello,
                                        Result<void> accepted);
  io::Task<void> serve_queries(std::shared_ptr<Link> link, format::Hello hello);
  io::Task<Result<journal::Appended>> refill_busy(std::string group, Refill refill);
  // resync.cc: a secondary that goes on behind a gap.
  io::Task<Result<void>> resync_entry(Entry* entry, bool overrules, bool give_up_window);
  io::Task<Result<void>> join_again(Entry* entry, format::HelloIntent intent, bool overrules);
  io::Task<Result<Entry*>> welcome_behind_gap(format::Hello hello);
  Entry* find_resyncing(const std::string& name, std::uint64_t sender);
  io::Task<void> catch_up(std::string name, std::uint64_t sender);
  io::Task<Result<void>> compare_to_catch_up(std::string name, std::uint64_t sender);
  io::Task<void> suspend_resync(Entry* entry, std::string reason);
  // The newest entry that both nodes have; none when they have gone their own ways.
  LogId newest_common(const std::string& group) const;
  // A connection to the peer for questions, in this time. No lock is held.
  io::Task<Result<std::shared_ptr<Link>>> connect_to_ask(std::string group, Duration limit);
  io::Task<void> run_comparison(std::string group, std::shared_ptr<Comparison> comparison);
  io::Task<Result<void>> drain(Entry* entry);
  io::Task<Result<void>> ask_to_take_over(Entry* entry, LogId head);
  io::Task<Result<void>> wait_until_following(std::string group);
  io::Task<Result<journal::Appended>> open_own_epoch(Entry* entry, group::RestorePlan plan,
                                                     format::EpochReason reason, std::string why);
  io::Task<void> end_receiver(Entry* entry);
  Result<void> check_may_be_alone(const Entry& entry) const;
  io::Task<Result<void>> become_alone(Entry* entry);
  // Opens the epoch in which it goes on alone.
  io::Task<Result<void>> turn_alone(Entry* entry);
  // What a peer that has taken over lacks no longer holds the floor. False when nothing did, or it cannot be
  // recorded.
  io::Task<bool> let_go_of_peer(Entry* entry);
  io::Task<void> let_go_of_primary(Entry* entry);
  void need_copy(Entry* entry, LogId peer_had);
  io::Task<void> apply(std::shared_ptr<Link> link, Entry* entry);
  io::Task<std::string> apply_messages(std::shared_ptr<Link> link, Entry* entry, bool* deleted);
  io::Task<Result<void>> apply_message(Entry* entry, Message message);
  io::Task<Result<void>> note_copied(Entry* entry);
  io::Task<void> acknowledge(std::shared_ptr<Link> link, Entry* entry);

  io::Environment environment_;
  NodeName self_;
  PairHost& host_;
  std::map<std::string, std::unique_ptr<Entry>> entries_;
  std::map<std::string, std::unique_ptr<io::Mutex>> locks_;  // by group; stay once made
  std::uint64_t senders_made_ = 0;
  std::uint64_t receivers_made_ = 0;
  std::uint64_t marks_asked_ = 0;
  std::size_t strangers_ = 0;  // connections that are not let into a pair, or not yet
  bool has_addresses_ = false;
  bool stopping_ = false;
  io::WaitQueue sync_moved_;  // a peer may be lost at another moment than it seemed
  std::optional<MonotonicTime> sync_due_;
  io::TaskScope tasks_;
  io::TaskScope mark_tasks_;  // marks that peers asked for
  io::TaskScope comparisons_;
};

}  // namespace tidemark::replication
