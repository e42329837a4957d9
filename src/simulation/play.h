#pragma once

#include <string>
#include <utility>
#include <vector>

#include "simulation/chronicle.h"
#include "simulation/reader.h"
#include "simulation/simulation.h"
#include "simulation/stage.h"
#include "simulation/watcher.h"

namespace tidemark::simulation {

using control::PairState;

// For the pair to be whole again once the faults are over, and for what runs beside it to end.
inline constexpr Duration kCatchUpMax = Duration::seconds(120);

// A part that a machine has lost for good, until what is left of its group there has been deleted.
struct LostPart {
  std::string name{};
  GroupIdentity group{};
  bool had_some = false;  // of the group
  bool is_gone = false;   // the group, as was seen
};

// One run: its stage, its model, and what is done on it. play_requests.cc has what hosts ask,
// play_commands.cc what an operator does, play_faults.cc what goes wrong, play_storage.cc what happens to
// RAID groups and their disks, play_roles.cc how roles are swapped, simulation.cc the order of it all.
class Play {
 public:
  explicit Play(const Options& options, const TraceLine& trace)
      : stage_(options, trace),
        chronicle_(stage_),
        reader_(stage_, chronicle_),
        watcher_(stage_, chronicle_) {}

  Outcome run();

 private:
  Machine& a() { return stage_.a; }
  Machine& b() { return stage_.b; }
  std::uint64_t draw(std::uint64_t bound) { return stage_.draw(bound); }
  // Whose branch continues once the faults are over.
  Machine& primary() { return swapped_ ? b() : a(); }
  Machine& secondary() { return swapped_ ? a() : b(); }
  // Both, or the only one.
  Machine& any_machine() { return stage_.options.pair && draw(2) == 0 ? b() : a(); }
  // Some machine that runs, the second when it is the one that is alone; null when none does.
  Machine* writer();
  Machine* running();
  PairState state(Machine& machine);
  control::PairStatus status(Machine& machine);

  void set_up();
  void step(Step step);
  void requests(bool with_crash);
  Request draw_request();
  void restore();
  void change_mark();
  void name_point();
  void release_branch();
  void settings();
  void destage();
  void change_log_volumes();
  void restart();
  void disk_error();
  void clock_jump();
  void replay_session();
  bool replay_first_session();
  void send_to_secondary(std::vector<std::byte> bytes);
  void resync();
  void verify();
  void look_at_comparison(Machine& machine);
  void verify_at_the_end();
  void turn_bit_perhaps();
  void destage_beside(Machine& machine);
  void go_alone();
  void lose_secondary();
  std::optional<LogId> stop_in_order(Machine& machine);
  void check_head(Machine& machine, LogId before);
  void check_follower();
  void check_sync();
  void agree();
  void settle_sync();
  void add_terms(control::PairCreateRequest& request, Machine& peer);
  void take_over();
  bool may_fail_for_the_peer(const Machine& machine, const Request& request) const;
  void settle();
  bool pair_again();
  bool pair_elsewhere();

  // play_storage.cc
  std::size_t draw_part(const Machine& machine);
  void place(control::GroupCreateRequest& request);
  void lose_member();
  void pull_disks();
  void check_placed(Machine& machine, LuNumber unit, const std::optional<std::string>& part);
  void check_told(Machine& machine, const std::string& part);
  bool may_lose_part(Machine& machine) const;
  void lose_part(Machine& machine, std::size_t number);
  std::size_t part_of_journal(Machine& machine);
  bool give_up_lost_part(Machine& machine);
  void lose_part_at_the_end();

  // play_roles.cc
  std::optional<replication::PairRecord> record(Machine& machine);
  Machine* writer_of_either();
  void exchange_roles();
  void step_of_roles();
  void swap_roles();
  void resync_either();
  void take_over_either();
  void lose_either();
  bool take_writes_on(Machine& machine);
  bool pair_anew(Machine& machine, Machine& empty);
  void learn_both();
  void note_tails();
  void forget_live_tails();
  void check_tails();
  void check_one_writer();
  void settle_roles();
  void release_all_branches();

  void carry_out_all(Machine& writer, std::vector<Request> wanted, CrashPlan* crash);
  void explain(Machine& machine, const Issued& issued);
  void start(Machine& machine);
  void bring_back(Machine& machine);
  void mend();
  CrashPlan draw_crash();
  std::string draw_mark(const Machine& machine);
  std::string point_name(LogId id) { return "log:" + id.to_string(); }
  // Asks and tells; an error is part of the run.
  template <typename T>
  bool tell(Machine& machine, const std::string& what, io::Task<Result<T>> task, Error* why = nullptr);

  Stage stage_;
  Chronicle chronicle_;
  Reader reader_;
  Watcher watcher_;
  std::uint32_t value_ = 0;
  std::uint32_t names_ = 0;
  bool faults_are_over_ = false;
  // Either machine may be the primary.
  bool roles_move_ = false;
  // The second one is, now that the faults are over.
  bool swapped_ = false;
  // What a machine had written when roles were about to be swapped.
  struct Tail {
    Machine* machine;
    LogId at;
    std::uint64_t windows_given_up;
  };
  std::vector<Tail> tails_;
  // The primary may have been told to go on without the secondary, which may not know.
  bool unheard_word_ = false;
  MonotonicTime hangs_until_[2] = {};
  std::optional<LostPart> lost_[2] = {};
  // What the primary sent when the pair was made, and of which group.
  std::vector<std::byte> first_session_;
  GroupIdentity first_identity_{};
};

template <typename T>
bool Play::tell(Machine& machine, const std::string& what, io::Task<Result<T>> task, Error* why) {
  // Any command may be cut off by a crash of either node.
  CrashPlan crash;
  const bool may_crash = stage_.options.weight(Step::kCrashInside) > 0 && !faults_are_over_;
  if (may_crash && draw(8) == 0) crash = draw_crash();
  const auto done = stage_.ask(machine, std::move(task), &crash);
  std::string line = machine.name();
  line.append(" ").append(what).append(": ");
  if (!done.has_value()) {
    line.append("cut off");
  } else if (done->ok()) {
    line.append("done");
  } else {
    line.append(error_code_name(done->error().code)).append(", ").append(done->error().message);
    if (why != nullptr) *why = done->error();
  }
  stage_.say(line);
  return done.has_value() && done->ok();
}

}  // namespace tidemark::simulation
