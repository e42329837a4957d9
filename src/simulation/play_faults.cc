// What goes wrong, and how it is mended.

#include "simulation/play.h"

#include <algorithm>

#include "simulation/atlas.h"

namespace tidemark::simulation {

void Play::lose_secondary() {
  if (a().group() == nullptr) return;
  if (may_lose_part(b()) && !chronicle_.has_pending(b()) && draw(2) == 0) {
    lose_part(b(), draw_part(b()));
    b().disk_may_fail = false;
    start(b());
    // Nothing of the group may have been there.
    if (stage_.failed() || !b().is_on() || b().group() != nullptr) return;
  } else {
    if (b().is_on()) stage_.crash(b(), true);
    stage_.say("osaka loses its disk");
    b().replace_disks();
    lost_[1].reset();
    chronicle_.forget_writer(b());
    watcher_.forget_second();
    b().has_crashed = false;
    b().disk_may_fail = false;
    start(b());
  }
  if (stage_.failed() || !a().is_running()) return;
  // What was copied there meanwhile may not hear of it.
  unheard_word_ = true;
  control::PairDeleteRequest request;
  request.group = kGroup;
  tell(a(), "pair delete", a().node()->pair_delete(request));
  if (!a().is_running()) return;
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = b().address();
  add_terms(create, b());
  tell(a(), "pair create", a().node()->pair_create(create));
}

// Where its order ended, if it has one; nothing when it did not come to that.
std::optional<LogId> Play::stop_in_order(Machine& machine) {
  // A first copy may begin anew at any moment, and its entries with it.
  const bool has_window = machine.group() != nullptr && machine.group()->local().window_open;
  const LogId head = has_window ? machine.group()->head() : LogId();
  machine.end_clients();
  const auto stopped = stage_.ask(machine, machine.stop_task());
  if (!stopped.has_value()) return std::nullopt;
  stage_.say(machine.name() + " stops in order");
  machine.kill();
  if (!stopped->ok() && !machine.disk_may_fail) {
    stage_.broken(Rule::kRefusalsAreExpected, machine.name() + ": stop: " + stopped->error().message);
    return std::nullopt;
  }
  return stopped->ok() ? head : LogId();
}

// What it has back reaches as far as it did.
void Play::check_head(Machine& machine, LogId before) {
  const group::Group* group = machine.group();
  if (before.is_none() || group == nullptr || group->head() >= before ||
      group->head().epoch() != before.epoch()) {
    return;
  }
  stage_.broken(Rule::kFlushedSurvives, machine.name() + " had log:" + before.to_string() +
                                            " durably and came back at log:" + group->head().to_string());
}

void Play::restart() {
  Machine& machine = any_machine();
  if (!machine.is_on()) return bring_back(machine);
  const std::uint64_t how = draw(3);
  if (how == 0 && machine.is_running()) {
    const std::optional<LogId> head = stop_in_order(machine);
    if (!head.has_value()) return;
    if (draw(2) == 0) stage_.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(draw(300))));
    start(machine);
    // An orderly stop loses nothing.
    return check_head(machine, *head);
  }
  stage_.crash(machine, how != 1);
  if (draw(3) == 0) return;  // it stays down for a while
  stage_.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(300'000))));
  bring_back(machine);
}

// Once, or after crashes in the middle of its recovery.
void Play::bring_back(Machine& machine) {
  const bool nested = stage_.options.weight(Step::kCrashInside) > 0 && !faults_are_over_ && draw(3) == 0;
  for (std::uint64_t again = nested ? 1 + draw(2) : 0; again > 0; --again) {
    machine.power_on();
    CrashPlan crash;
    crash.victim = &machine;
    crash.after_steps = draw(200);
    crash.power = draw(3) != 0;
    (void)stage_.ask(machine, machine.start_task(), &crash);
    if (stage_.failed()) return;
    if (machine.is_on()) stage_.crash(machine, crash.power);
  }
  start(machine);
}

void Play::start(Machine& machine) {
  machine.power_on();
  const std::size_t hits = machine.disk().fault_hits().size();
  auto started = stage_.ask(machine, machine.start_task());
  bool stops = false;
  if (started.has_value() && machine.disk_may_fail && machine.group() != nullptr) {
    journal::Journal& journal = machine.group()->journal();
    const auto flushed =
        stage_.ask(machine, holding(machine.hold_group(), journal.wait_durable(journal.last_ticket())));
    stops = (flushed.has_value() && !flushed->ok()) ||
            (machine.group() != nullptr && machine.group()->failure().has_value());
  }
  // One failed operation of a disk may keep a node from starting, or stop its group right after; the next
  // start has to succeed.
  const bool stopped =
      started.has_value() && (!started->ok() || machine.group() == nullptr || stops) && machine.disk_may_fail;
  if (stopped) {
    stage_.say(machine.name() + " does not start: " +
               (!started->ok() ? started->error().message
                : stops        ? "its group stops"
                               : "no group"));
    machine.disk().forget_planned_faults();
    stage_.crash(machine, false);
    machine.power_on();
    started = stage_.ask(machine, machine.start_task());
  }
  if (!started.has_value() || stage_.failed()) return;
  if (!started->ok()) {
    return stage_.broken(Rule::kRefusalsAreExpected,
                         machine.name() + " does not start: " + started->error().message);
  }
  stage_.say(machine.name() + " is up");
  // A fault that is still to come would be nobody's fault but the disk's.
  machine.disk().forget_planned_faults();
  // One that hit during the start, and has stopped nothing, may be of an operation that is still under way.
  machine.disk_may_fail = machine.disk_may_fail && !stopped && machine.disk().fault_hits().size() != hits;
  const bool is_gone = give_up_lost_part(machine);
  if (is_gone || stage_.failed() || !machine.is_on()) return;
  if (machine.group() == nullptr) {
    if (machine.gave_up_window) chronicle_.forget_writer(machine);
    if (!chronicle_.appended(machine).order.empty()) {
      stage_.broken(Rule::kFlushedSurvives, machine.name() + " came back without its group");
    }
    return;
  }
  chronicle_.account(machine, machine.has_crashed, false);
  machine.has_crashed = false;
}

// Whoever is down comes back; a disk that may have failed, or was not there, is looked at anew.
void Play::mend() {
  for (Machine* machine : {&a(), &b()}) {
    if (machine == &b() && !stage_.options.pair) continue;
    if (machine->is_on() && (machine->disk_may_fail || machine->misses_part())) {
      machine->disk().forget_planned_faults();
      stage_.crash(*machine, draw(2) == 0);
    }
    if (!machine->is_on()) bring_back(*machine);
    if (stage_.failed()) return;
  }
}

void Play::disk_error() {
  Machine& machine = any_machine();
  if (!machine.is_running()) return;
  // One member may fail, and only of a RAID group that can do without.
  const std::size_t number = draw_part(machine);
  const Part& part = machine.part(number);
  if (part.is_raid() && !part.is_whole()) return;
  machine.aim(number, part.is_raid() ? draw(4) : 0);
  const std::vector<sim::DiskFault> faults = faults_that_are(Meaning::kRepairable);
  const sim::DiskFault fault = faults[draw(faults.size())];
  machine.disk().inject(fault, 1 + draw(6));
  machine.disk_may_fail = true;
  ++stage_.outcome.counts.disk_faults;
  stage_.say(machine.name() + ": its disk will fail, " + sim::disk_fault_name(fault));
  if (stage_.options.weight(Step::kSettings) > 0 && draw(3) == 0) {
    settings();
  } else {
    requests(false);
  }
  if (!stage_.failed() && draw(2) == 0 && machine.group() != nullptr) {
    tell(machine, "destages", holding(machine.hold_group(), machine.group()->destage_now(false)));
  }
  if (!stage_.failed() && draw(2) == 0) requests(false);
  if (!stage_.failed()) mend();
}

void Play::clock_jump() {
  const std::int64_t back_max = stage_.options.clock_goes_back ? 3600 : 0;
  const auto seconds = static_cast<std::int64_t>(draw(7200)) - back_max;
  stage_.say("the wall clocks jump by " + std::to_string(seconds) + " s");
  watcher_.clock_jumps(Duration::seconds(seconds));
  stage_.world.jump_wall_clock(Duration::seconds(seconds));
}

// The hello that once asked for the first copy takes nothing from a secondary that follows. False when it is
// not the time for it.
bool Play::replay_first_session() {
  const auto follows = [this] {
    const control::PairStatus now = status(a());
    return now.state == PairState::kPair && now.link_up && b().group() != nullptr &&
           b().group()->local().window_open && b().group()->identity() == first_identity_;
  };
  // Nothing older is on its way any more.
  if (!follows()) return false;
  stage_.world.run_for(Duration::seconds(2));
  if (!follows()) return false;
  watcher_.session_was_replayed();
  stage_.say("somebody replays the first session to osaka");
  const std::uint64_t before = b().windows_given_up;
  send_to_secondary(first_session_);
  stage_.world.run_for(Duration::seconds(2));
  if (b().windows_given_up != before) {
    stage_.broken(Rule::kNeededIsKept, "osaka gave up its window to whoever sent the first hello again");
  }
  return true;
}

// Somebody sends again what the primary sent.
void Play::replay_session() {
  if (!b().is_running()) return;
  std::vector<std::byte> bytes = stage_.world.network().last_session();
  if (draw(2) == 0 && !first_session_.empty() && replay_first_session()) return;
  if (bytes.empty()) return;
  bytes.resize(1 + draw(bytes.size()));
  watcher_.session_was_replayed();
  stage_.say("somebody replays " + std::to_string(bytes.size()) + " bytes of a session to osaka");
  send_to_secondary(std::move(bytes));
}

void Play::send_to_secondary(std::vector<std::byte> bytes) {
  const auto address = io::Address::parse(b().address());
  b().tasks().spawn([](Stage* stage, io::Address to, std::vector<std::byte> sent) -> io::Task<void> {
    auto stream = co_await stage->world.network().connect(to, Duration::seconds(5));
    if (!stream.ok()) co_return;
    std::vector<Buffer> pieces;
    pieces.push_back(Buffer::copy_of(sent));
    (void)co_await (*stream)->write(std::move(pieces));
    co_await stage->world.sleep_for(Duration::seconds(1));
  }(&stage_, *address, std::move(bytes)));
}

}  // namespace tidemark::simulation
