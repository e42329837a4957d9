#include "simulation/simulation.h"

#include <algorithm>
#include <string>
#include <vector>

#include "simulation/atlas.h"
#include "simulation/chronicle.h"
#include "simulation/damage.h"
#include "simulation/reader.h"
#include "simulation/stage.h"
#include "simulation/watcher.h"

namespace tidemark::simulation {
namespace {

using control::PairState;

// How long the pair may take to be equal once nothing is broken any more.
constexpr Duration kCatchUpMax = Duration::seconds(120);

class Simulation {
 public:
  explicit Simulation(const Options& options, const TraceLine& trace)
      : stage_(options, trace),
        chronicle_(stage_),
        reader_(stage_, chronicle_),
        watcher_(stage_, chronicle_) {}

  Outcome run();

 private:
  Machine& a() { return stage_.a; }
  Machine& b() { return stage_.b; }
  std::uint64_t draw(std::uint64_t bound) { return stage_.draw(bound); }
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
  void restart();
  void disk_error();
  void clock_jump();
  void replay_session();
  bool replay_first_session();
  void send_to_secondary(std::vector<std::byte> bytes);
  void resync();
  void turn_bit_perhaps();
  void destage_beside(Machine& machine);
  void go_alone();
  void lose_secondary();
  void check_follower();
  void settle();
  bool pair_again();

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
  MonotonicTime hangs_until_[2] = {};
  // What the primary sent when the pair was made, and of which group.
  std::vector<std::byte> first_session_;
  GroupIdentity first_identity_{};
};

Machine* Simulation::writer() {
  const bool b_alone = stage_.options.pair && b().group() != nullptr && state(b()) == PairState::kSsws;
  Machine& at = b_alone && draw(2) == 0 ? b() : a();
  // One that stopped in the middle of something is looked at first, when it is back.
  return at.group() != nullptr && !chronicle_.has_pending(at) ? &at : nullptr;
}

Machine* Simulation::running() {
  Machine& first = any_machine();
  if (first.group() != nullptr) return &first;
  Machine& second = &first == &a() ? b() : a();
  return second.group() != nullptr ? &second : nullptr;
}

control::PairStatus Simulation::status(Machine& machine) {
  control::PairStatusRequest request;
  request.group = kGroup;
  if (!machine.is_running()) return {};
  auto reply = stage_.ask(machine, machine.node()->pair_status(request));
  return reply.has_value() && reply->ok() ? **reply : control::PairStatus();
}

PairState Simulation::state(Machine& machine) {
  return status(machine).state;
}

template <typename T>
bool Simulation::tell(Machine& machine, const std::string& what, io::Task<Result<T>> task, Error* why) {
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

CrashPlan Simulation::draw_crash() {
  CrashPlan crash;
  crash.victim = &any_machine();
  // Mostly soon: what is asked takes some tens of steps.
  crash.after_steps = draw(draw(2) == 0 ? 40 : 400);
  crash.power = draw(3) != 0;
  return crash;
}

// ---- Requests ----

Request Simulation::draw_request() {
  Request request;
  request.volume = draw(kVolumeCount);
  const std::uint64_t blocks = stage_.options.volume_blocks;
  const std::uint64_t count = 1 + draw(std::min(stage_.options.request_blocks_max, blocks));
  request.blocks.begin = draw(blocks - count + 1);
  request.blocks.end = request.blocks.begin + count;
  request.first_value = value_ + 1;
  request.fua = stage_.percent(stage_.options.fua_percent);
  if (stage_.percent(stage_.options.marks_percent)) {
    request.kind = Request::Kind::kMark;
    request.text = "m" + std::to_string(++names_);
  } else if (stage_.percent(stage_.options.flushes_percent)) {
    request.kind = Request::Kind::kFlush;
  } else if (stage_.percent(stage_.options.zeroes_percent)) {
    request.kind = draw(2) == 0 ? Request::Kind::kTrim : Request::Kind::kWriteZeroes;
    // Now and then all of the volume: the base gives its extent back.
    if (draw(3) == 0) request.blocks = {0, blocks};
  } else {
    value_ += static_cast<std::uint32_t>(count);
    if (stage_.percent(stage_.options.partial_percent)) {
      const std::uint64_t which = draw(count > 1 ? 3 : 2);
      request.skips_first_half = which != 1;
      request.skips_last_half = which != 0;
    }
  }
  if (!request.has_blocks()) request.fua = false;
  return request;
}

io::Task<void> issue(Stage* stage, Machine* machine, std::shared_ptr<Issued> issued, Duration after) {
  co_await stage->world.sleep_for(after);
  issued->issued_at = stage->next_moment();
  issued->result = co_await carry_out(machine->node(), issued->request);
  issued->ended_at = stage->next_moment();
}

void Simulation::carry_out_all(Machine& writer, std::vector<Request> wanted, CrashPlan* crash) {
  Requests issued;
  for (Request& request : wanted) {
    auto one = std::make_shared<Issued>();
    one->request = std::move(request);
    issued.push_back(one);
    const Duration after =
        Duration::microseconds(static_cast<std::int64_t>(wanted.size() > 1 ? draw(3000) : 0));
    writer.tasks().spawn(issue(&stage_, &writer, one, after));
  }
  stage_.outcome.counts.requests += issued.size();
  chronicle_.add(writer, issued);
  const MonotonicTime due = stage_.world.now() + Duration::seconds(600);
  const auto all_ended = [&issued] {
    return std::all_of(issued.begin(), issued.end(), [](const auto& one) { return one->ended_at != 0; });
  };
  while (!all_ended() && writer.is_on() && !stage_.failed()) {
    if (stage_.crash_if_due(crash)) continue;
    if (stage_.world.run_steps(1) == 0 || stage_.world.now() > due) {
      stage_.broken(Rule::kEndsInTime, writer.name() + ": requests have not ended within 600 s");
    }
  }
  // The answer was given, and that very moment the power goes.
  if (crash != nullptr && crash->victim == &writer && writer.is_on() && draw(4) == 0) {
    crash->after_steps = 0;
    (void)stage_.crash_if_due(crash);
  }
  for (const auto& one : issued) {
    if (one->ended_at != 0 && !one->result.ok()) explain(writer, *one);
  }
  if (writer.group() == nullptr) return;
  chronicle_.account(writer, false, false);
}

// An error has to follow from the state.
void Simulation::explain(Machine& machine, const Issued& issued) {
  const Error& error = issued.result.error();
  stage_.say(machine.name() + " " + issued.request.to_string() + ": " + error_code_name(error.code) + ", " +
             error.message);
  if (machine.disk_may_fail || !machine.is_running() || machine.group() == nullptr) return;
  switch (error.code) {
    case ErrorCode::kNoSpace:
      return;
    // A primary that has not heard its peer since the start lets who comes wait, but not for ever.
    case ErrorCode::kBusy:
      if (stage_.options.pair && &machine == &a()) return;
      break;
    case ErrorCode::kNotFound: {
      // A restore to before the volumes were made takes them away.
      const group::Group& group = *machine.group();
      if (!group.state().find_volume(kVolumes[issued.request.volume], group.head()).has_value()) return;
      if (issued.request.kind == Request::Kind::kRestore) return;
      break;
    }
    case ErrorCode::kRefused:
    case ErrorCode::kExpired:
    case ErrorCode::kInGap:
    case ErrorCode::kNotReceived:
    case ErrorCode::kReadOnly:
    case ErrorCode::kClosed:
      if (issued.request.kind == Request::Kind::kRestore) return;
      if (!machine.group()->check_accepting().ok()) return;
      break;
    default:
      break;
  }
  stage_.broken(Rule::kRefusalsAreExpected, machine.name() + ": " + issued.request.to_string() + ": " +
                                                error_code_name(error.code) + ", " + error.message);
}

void Simulation::requests(bool with_crash) {
  Machine* at = writer();
  if (at == nullptr) return;
  if (at->group() != nullptr && at->group()->held_back().has_value() && draw(2) == 0) {
    control::GroupServeRequest alone;
    alone.group = kGroup;
    alone.alone = true;
    tell(*at, "group serve --alone", at->node()->group_serve(alone));
    if (stage_.failed() || !at->is_running()) return;
  }
  std::vector<Request> wanted;
  const std::uint64_t count = 1 + draw(stage_.options.requests_at_once_max);
  for (std::uint64_t i = 0; i < count; ++i) {
    Request request = draw_request();
    // Two over the same blocks at once could not be told apart in the log.
    const bool twice = std::any_of(wanted.begin(), wanted.end(), [&](const Request& other) {
      return request.has_blocks() && other.has_blocks() && other.volume == request.volume &&
             other.blocks == request.blocks;
    });
    if (!twice) wanted.push_back(std::move(request));
  }
  CrashPlan crash;
  if (with_crash) crash = draw_crash();
  turn_bit_perhaps();
  carry_out_all(*at, std::move(wanted), &crash);
  if (!with_crash && !stage_.failed() && at == &a()) reader_.note_moment();
  if (with_crash && draw(2) == 0) mend();
}

void Simulation::restore() {
  Machine* at = writer();
  if (at == nullptr) return;
  Request request;
  request.kind = Request::Kind::kRestore;
  const std::string mark = draw_mark(*at);
  if (mark.empty() || draw(4) == 0) {
    request.text = point_name(reader_.draw_known_point());
  } else {
    request.text = mark;
  }
  CrashPlan crash;
  if (stage_.options.weight(Step::kCrashInside) > 0 && draw(4) == 0) crash = draw_crash();
  carry_out_all(*at, {request}, &crash);
}

std::string Simulation::draw_mark(const Machine&) {
  const auto& marks = chronicle_.model.marks;
  if (marks.empty()) return {};
  auto found = marks.begin();
  std::advance(found, static_cast<std::ptrdiff_t>(draw(marks.size())));
  return found->first;
}

// ---- What an operator does ----

void Simulation::change_mark() {
  Machine* at = writer();
  const std::string id = at == nullptr ? "" : draw_mark(*at);
  if (id.empty()) return;
  node::Node* node = at->node();
  switch (draw(4)) {
    case 0: {
      control::MarkHoldRequest request;
      request.group = kGroup;
      request.id = id;
      const LogId point = chronicle_.model.marks[id];
      if (tell(*at, "mark hold " + id, node->mark_hold(request)) && at == &a()) {
        watcher_.mark_is_held(id, point);
      }
      break;
    }
    case 1: {
      control::MarkDeleteRequest request;
      request.group = kGroup;
      request.id = id;
      tell(*at, "mark delete " + id, node->mark_delete(request));
      break;
    }
    default: {
      control::MarkReleaseRequest request;
      request.group = kGroup;
      request.id = id;
      watcher_.mark_may_go(id);
      tell(*at, "mark release " + id, node->mark_release(request));
      break;
    }
  }
}

void Simulation::name_point() {
  Machine* at = writer();
  if (at == nullptr) return;
  const LogId point = reader_.draw_known_point();
  control::MarkNameRequest request;
  request.group = kGroup;
  request.id = "n" + std::to_string(++names_);
  request.point = point_name(point);
  if (tell(*at, "mark name " + request.id + " at " + request.point, at->node()->mark_name(request))) {
    chronicle_.model.marks[request.id] = point;
  }
}

void Simulation::release_branch() {
  Machine* at = running();
  if (at == nullptr) return;
  const auto branches = at->group()->state().epochs().branches(at->group()->head());
  if (branches.empty()) return;
  control::BranchReleaseRequest request;
  request.group = kGroup;
  request.epoch = branches[draw(branches.size())].epoch.value;
  watcher_.branch_may_go(Epoch{request.epoch});
  tell(*at, "branch release " + std::to_string(request.epoch), at->node()->branch_release(request));
}

void Simulation::settings() {
  Machine* at = running();
  if (at == nullptr) return;
  control::GroupSetRequest request;
  request.group = kGroup;
  const Duration retentions[] = {Duration{}, Duration::seconds(1), Duration::seconds(60),
                                 Duration::seconds(86'400)};
  request.retain = retentions[draw(4)];
  request.on_full = draw(2) == 0 ? control::OnFull::kDropHistory : control::OnFull::kStopWrites;
  const group::GroupSettings wanted{.retain = *request.retain,
                                    .on_full = *request.on_full == control::OnFull::kDropHistory
                                                   ? group::OnFull::kDropHistory
                                                   : group::OnFull::kStopWrites};
  if (at == &a()) watcher_.settings_are(std::nullopt);
  if (tell(*at, "group set --retain " + format_duration(wanted.retain), at->node()->group_set(request)) &&
      at == &a()) {
    watcher_.settings_are(wanted);
  }
}

void Simulation::destage() {
  Machine* at = running();
  if (at == nullptr) return;
  const std::uint64_t how = draw(3);
  if (how == 0) return destage_beside(*at);
  // What is opened and read meanwhile holds the floor, and its segments, or comes too late.
  for (std::uint64_t views = how == 1 ? draw(4) : 0; views > 0; --views) reader_.open_view(at);
  const bool short_of_space = draw(3) == 0;
  tell(*at, short_of_space ? "destages for space" : "destages",
       holding(at->hold_group(), at->group()->destage_now(short_of_space)));
}

void Simulation::resync() {
  if (a().group() == nullptr) return;
  control::PairResyncRequest request;
  request.group = kGroup;
  request.give_up_window = draw(4) == 0;
  // What the secondary wrote alone gives way only when somebody says so.
  if (draw(2) == 0) request.from = control::ResyncFrom::kPrimary;
  // As long as the journal is held for the peer, no copy is needed.
  const bool is_held = !a().group()->local().peer_has.is_none();
  Error why;
  // The copy's beginning holds the floor.
  if (request.give_up_window && draw(2) == 0) destage_beside(a());
  tell(a(), request.give_up_window ? "pair resync --give-up-window" : "pair resync",
       a().node()->pair_resync(request), &why);
  if (is_held && !request.give_up_window && why.code == ErrorCode::kExpired && !watcher_.has_replayed()) {
    return stage_.broken(Rule::kNeededIsKept,
                         "kyoto cannot resync, though it held its journal: " + why.message);
  }
  if (stage_.failed()) return;
  if (!request.give_up_window) {
    // What the secondary wrote alone stays, however short its journal is of space.
    for (std::uint64_t times = draw(3); times > 0 && b().group() != nullptr; --times) {
      stage_.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(draw(50))));
      if (b().group() != nullptr) destage_beside(b());
    }
    return;
  }
  // Chunks are on their way now.
  stage_.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(5000))));
  turn_bit_perhaps();
}

// Of what comes over the link next.
void Simulation::turn_bit_perhaps() {
  if (stage_.options.weight(Step::kLinkBit) == 0 || draw(8) != 0) return;
  stage_.say("a bit will turn on the link");
  stage_.world.network().flip_next_bit();
}

// While all goes on.
void Simulation::destage_beside(Machine& machine) {
  stage_.say(machine.name() + " begins to destage");
  machine.tasks().spawn([](io::Task<Result<bool>> step) -> io::Task<void> {
    (void)co_await step;
  }(holding(machine.hold_group(), machine.group()->destage_now(draw(2) == 0))));
}

void Simulation::go_alone() {
  if (b().group() == nullptr) return;
  // What the primary was asked for and has not accounted for is learnt from the secondary.
  control::PairSuspendRequest suspend;
  suspend.group = kGroup;
  tell(b(), "pair suspend", b().node()->pair_suspend(suspend));
  if (b().group() == nullptr || state(b()) == PairState::kPair || state(b()) == PairState::kCopy) return;
  if (b().group() == nullptr || !b().group()->local().window_open) return;
  chronicle_.learn(b());
  if (b().group() == nullptr) return;
  Request request;
  request.kind = Request::Kind::kRestore;
  request.text = "head";
  CrashPlan crash;
  if (stage_.options.weight(Step::kCrashInside) > 0 && draw(3) == 0) crash = draw_crash();
  carry_out_all(b(), {request}, &crash);
}

void Simulation::lose_secondary() {
  if (a().group() == nullptr) return;
  if (b().is_on()) stage_.crash(b(), true);
  stage_.say("osaka loses its disk");
  b().replace_disk();
  chronicle_.forget_writer(b());
  watcher_.forget_second();
  b().has_crashed = false;
  b().disk_may_fail = false;
  start(b());
  control::PairDeleteRequest request;
  request.group = kGroup;
  tell(a(), "pair delete", a().node()->pair_delete(request));
  if (!a().is_running()) return;
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = b().address();
  tell(a(), "pair create", a().node()->pair_create(create));
}

// ---- Faults ----

void Simulation::restart() {
  Machine& machine = any_machine();
  if (!machine.is_on()) return bring_back(machine);
  const std::uint64_t how = draw(3);
  if (how == 0 && machine.is_running()) {
    // A first copy may begin anew at any moment, and its entries with it.
    const bool has_window = machine.group() != nullptr && machine.group()->local().window_open;
    const LogId head = has_window ? machine.group()->head() : LogId();
    machine.end_clients();
    const auto stopped = stage_.ask(machine, machine.stop_task());
    if (!stopped.has_value()) return;
    stage_.say(machine.name() + " stops in order");
    machine.kill();
    if (!stopped->ok() && !machine.disk_may_fail) {
      return stage_.broken(Rule::kRefusalsAreExpected,
                           machine.name() + ": stop: " + stopped->error().message);
    }
    if (draw(2) == 0) stage_.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(draw(300))));
    start(machine);
    // An orderly stop loses nothing.
    if (stopped->ok() && !head.is_none() && machine.group() != nullptr && machine.group()->head() < head &&
        machine.group()->head().epoch() == head.epoch()) {
      stage_.broken(Rule::kFlushedSurvives,
                    machine.name() + " stopped in order at log:" + head.to_string() +
                        " and came back at log:" + machine.group()->head().to_string());
    }
    return;
  }
  stage_.crash(machine, how != 1);
  if (draw(3) == 0) return;  // it stays down for a while
  stage_.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(300'000))));
  bring_back(machine);
}

// Once, or after crashes in the middle of its recovery.
void Simulation::bring_back(Machine& machine) {
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

void Simulation::start(Machine& machine) {
  machine.power_on();
  auto started = stage_.ask(machine, machine.start_task());
  // One failed read of a disk that fails may keep a node from starting; the next start has to succeed.
  if (started.has_value() && (!started->ok() || machine.group() == nullptr) && machine.disk_may_fail) {
    stage_.say(machine.name() +
               " does not start: " + (started->ok() ? "no group" : started->error().message));
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
  machine.disk_may_fail = false;
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

// Whoever is down comes back; a disk that may have failed is looked at anew.
void Simulation::mend() {
  for (Machine* machine : {&a(), &b()}) {
    if (machine == &b() && !stage_.options.pair) continue;
    if (machine->is_on() && machine->disk_may_fail) {
      machine->disk().forget_planned_faults();
      stage_.crash(*machine, draw(2) == 0);
    }
    if (!machine->is_on()) bring_back(*machine);
    if (stage_.failed()) return;
  }
}

void Simulation::disk_error() {
  Machine& machine = any_machine();
  if (!machine.is_running()) return;
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

void Simulation::clock_jump() {
  const std::int64_t back_max = stage_.options.clock_goes_back ? 3600 : 0;
  const auto seconds = static_cast<std::int64_t>(draw(7200)) - back_max;
  stage_.say("the wall clocks jump by " + std::to_string(seconds) + " s");
  watcher_.clock_jumps(Duration::seconds(seconds));
  stage_.world.jump_wall_clock(Duration::seconds(seconds));
}

// The hello that once asked for the first copy takes nothing from a secondary that follows. False when it is
// not the time for it.
bool Simulation::replay_first_session() {
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
void Simulation::replay_session() {
  if (!b().is_running()) return;
  std::vector<std::byte> bytes = stage_.world.network().last_session();
  if (draw(2) == 0 && !first_session_.empty() && replay_first_session()) return;
  if (bytes.empty()) return;
  bytes.resize(1 + draw(bytes.size()));
  watcher_.session_was_replayed();
  stage_.say("somebody replays " + std::to_string(bytes.size()) + " bytes of a session to osaka");
  send_to_secondary(std::move(bytes));
}

void Simulation::send_to_secondary(std::vector<std::byte> bytes) {
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

// ---- The run ----

void Simulation::check_follower() {
  if (stage_.failed()) return;
  // What commands appended.
  if (a().group() != nullptr && !chronicle_.has_pending(a())) chronicle_.learn(a());
  if (!stage_.options.pair || b().group() == nullptr || stage_.failed()) return;
  if (!chronicle_.has_pending(b())) chronicle_.learn_own(b());
  group::Group& group = *b().group();
  if (!group.local().window_open && state(b()) == PairState::kPair) {
    return stage_.broken(Rule::kPairAgrees, "osaka counts as a copy, and its copy was not finished");
  }
  if (b().group() == nullptr || !group.local().window_open || group.local().role != group::Role::kSecondary)
    return;
  if (group.head().epoch().value % 2 != 1) return;
  if (chronicle_.model.find(group.head()) == nullptr && !chronicle_.has_pending(a()) &&
      a().group() != nullptr) {
    return stage_.broken(Rule::kPeerHoldsAPrefix,
                         "osaka holds log:" + group.head().to_string() +
                             ", which kyoto does not have; it is at log:" + a().group()->head().to_string());
  }
  if (state(b()) == PairState::kPair && group.check_accepting().ok()) {
    stage_.broken(Rule::kOneWriterInPair, "osaka follows and yet takes writes");
  }
}

void Simulation::step(Step step) {
  switch (step) {
    case Step::kRequests:
      return requests(false);
    case Step::kRestore:
      return restore();
    case Step::kReadPoint:
      return reader_.read_some_point(running());
    case Step::kEntryData:
      return reader_.read_entry_data(running());
    case Step::kOpenView:
      return reader_.open_view(running());
    case Step::kChangeMark:
      return change_mark();
    case Step::kNamePoint:
      return name_point();
    case Step::kReleaseBranch:
      return release_branch();
    case Step::kSettings:
      return settings();
    case Step::kDestage:
      return destage();
    case Step::kWait:
      if (draw(4) == 0) return stage_.world.run_for(Duration::seconds(static_cast<std::int64_t>(draw(20))));
      return stage_.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(20'000))));
    case Step::kCrashInside:
      return requests(true);
    case Step::kRestart:
      return restart();
    case Step::kDiskError:
      return disk_error();
    case Step::kDiskHangs: {
      const Duration time = Duration::milliseconds(static_cast<std::int64_t>(draw(30'000)));
      Machine& machine = any_machine();
      // A shorter one would let what comes overtake what was there before, also what a killed node had
      // written.
      MonotonicTime& due = hangs_until_[&machine == &a() ? 0 : 1];
      if (stage_.world.now() < due) return;
      due = stage_.world.now() + time;
      stage_.say(machine.name() + ": its disk hangs for " + format_duration(time));
      return machine.disk().hang_until(stage_.world.now() + time);
    }
    case Step::kClockJump:
      return clock_jump();
    case Step::kLinkReset:
      stage_.say("all connections break");
      return stage_.world.network().reset_all();
    case Step::kLinkCut: {
      const std::uint64_t way = draw(4);
      stage_.say(way == 0   ? "the link is cut towards osaka"
                 : way == 1 ? "the link is cut towards kyoto"
                            : "the link is cut");
      if (way == 0) return stage_.world.network().cut_from_clients();
      if (way == 1) return stage_.world.network().cut_from_servers();
      return stage_.world.network().cut();
    }
    case Step::kLinkHeal:
      stage_.say("the link is healed");
      return stage_.world.network().heal();
    case Step::kLinkBit:
      stage_.say("a bit will turn on the link");
      return stage_.world.network().flip_next_bit();
    case Step::kReplaySession:
      return replay_session();
    case Step::kSuspend: {
      Machine* at = running();
      if (at == nullptr) return;
      control::PairSuspendRequest request;
      request.group = kGroup;
      tell(*at, "pair suspend", at->node()->pair_suspend(request));
      return;
    }
    case Step::kResync:
      return resync();
    case Step::kGoAlone:
      return go_alone();
    case Step::kLoseSecondary:
      return lose_secondary();
  }
}

void Simulation::set_up() {
  start(a());
  if (stage_.options.pair) start(b());
  if (stage_.failed()) return;
  control::GroupCreateRequest create;
  create.group = kGroup;
  create.journal_size_bytes = stage_.options.journal_bytes;
  create.retain = stage_.options.retain;
  create.on_full =
      stage_.options.stop_writes_when_full ? control::OnFull::kStopWrites : control::OnFull::kDropHistory;
  const auto made = stage_.ask(a(), a().node()->group_create(create));
  if (!made.has_value() || !made->ok()) {
    return stage_.broken(Rule::kRefusalsAreExpected,
                         "group create: " + (made.has_value() ? made->error().message : ""));
  }
  for (const char* volume : kVolumes) {
    control::VolumeCreateRequest request;
    request.group = kGroup;
    request.volume = volume;
    request.size_bytes = stage_.options.volume_blocks * kBlockSizeBytes;
    const auto created = stage_.ask(a(), a().node()->volume_create(request));
    if (!created.has_value() || !created->ok()) {
      return stage_.broken(Rule::kRefusalsAreExpected,
                           "volume create: " + (created.has_value() ? created->error().message : ""));
    }
  }
  chronicle_.account(a(), false, false);
  if (!stage_.options.pair) return;
  control::PairCreateRequest pair;
  pair.group = kGroup;
  pair.peer_address = b().address();
  const auto paired = stage_.ask(a(), a().node()->pair_create(pair));
  if (!paired.has_value() || !paired->ok()) {
    return stage_.broken(Rule::kRefusalsAreExpected,
                         "pair create: " + (paired.has_value() ? paired->error().message : ""));
  }
  first_session_ = stage_.world.network().last_session();
  first_identity_ = a().group()->identity();
}

// The faults stop: both nodes run, the pair is whole again, and both show the same.
void Simulation::settle() {
  stage_.say("the faults stop");
  faults_are_over_ = true;
  stage_.world.network().heal();
  stage_.world.network().set_options(sim::LinkOptions{});
  for (Machine* machine : {&a(), &b()}) machine->disk().hang_until(stage_.world.now());
  mend();
  if (stage_.failed() || !stage_.options.pair) return;
  if (state(a()) == PairState::kSmpl && !pair_again()) return;
  const auto caught_up = [this] {
    const control::PairStatus now = status(a());
    return now.state == PairState::kPair && now.link_up && now.lag_entries == 0 && a().group() != nullptr &&
           a().group()->journal().durable() == a().group()->head() && b().group() != nullptr &&
           b().group()->head() == a().group()->head();
  };
  const auto suspended = [this] {
    const PairState now = state(a());
    return now == PairState::kPsus || now == PairState::kPsue || now == PairState::kSsws;
  };
  // What stands in the way of a resync, a pin or a floor, goes with the secondary's window.
  for (std::uint32_t tries = 0; tries < 4; ++tries) {
    if (!stage_.wait_for([&] { return caught_up() || suspended(); }, kCatchUpMax)) {
      const control::PairStatus now = status(a());
      return stage_.broken(Rule::kEndsInTime,
                           "osaka does not catch up: it is at log:" +
                               (b().group() == nullptr ? "-" : b().group()->head().to_string()) +
                               ", kyoto at log:" + a().group()->head().to_string() + ", lag " +
                               std::to_string(now.lag_entries) +
                               (now.link_up ? ", link up; " : ", link down; ") + now.state_reason + "; " +
                               status(b()).state_reason);
    }
    if (!suspended()) return;
    control::PairResyncRequest request;
    request.group = kGroup;
    request.give_up_window = tries > 0;
    request.from = control::ResyncFrom::kPrimary;
    tell(a(), "pair resync", a().node()->pair_resync(request));
    if (!stage_.failed()) mend();
    if (stage_.failed()) return;
  }
  if (!stage_.wait_for(caught_up, kCatchUpMax)) {
    stage_.broken(Rule::kPairAgrees, "the pair does not get whole: " + status(a()).state_reason + "; " +
                                         status(b()).state_reason);
  }
}

// A crash came before the primary knew of its pair, or the secondary's disk was lost while the link was cut.
bool Simulation::pair_again() {
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = b().address();
  auto made = stage_.ask(a(), a().node()->pair_create(create));
  // What was under way when a disk hung may still keep it from answering in time.
  if (made.has_value() && !made->ok()) made = stage_.ask(a(), a().node()->pair_create(create));
  if (made.has_value() && !made->ok() && b().group() != nullptr) {
    // What an old session left there.
    control::GroupDeleteRequest remove;
    remove.group = kGroup;
    remove.force = true;
    (void)stage_.ask(b(), b().node()->group_delete(remove));
    watcher_.forget_second();
    made = stage_.ask(a(), a().node()->pair_create(create));
  }
  if (made.has_value() && made->ok()) return true;
  stage_.broken(Rule::kPairAgrees, "pair create: " + (made.has_value() ? made->error().message : ""));
  return false;
}

Outcome Simulation::run() {
  set_up();
  std::uint64_t weights = 0;
  for (const std::uint32_t weight : stage_.options.weights) weights += weight;
  for (std::uint32_t i = 0; i < stage_.options.steps && !stage_.failed(); ++i) {
    std::uint64_t at = draw(weights);
    std::size_t chosen = 0;
    while (at >= stage_.options.weights[chosen]) at -= stage_.options.weights[chosen++];
    step(static_cast<Step>(chosen));
    check_follower();
    watcher_.look();
    // Nobody stays down for long.
    if (!stage_.failed() && draw(6) == 0 && (!a().is_on() || (stage_.options.pair && !b().is_on()))) mend();
  }
  if (!stage_.failed()) settle();
  watcher_.look();
  if (!stage_.failed()) reader_.compare_all();
  if (!stage_.failed() && stage_.options.damages > 0) {
    damage_and_look(stage_, chronicle_, reader_);
  }
  return stage_.outcome;
}

}  // namespace

Outcome simulate(const Options& options, const TraceLine& trace) {
  return Simulation(options, trace).run();
}

}  // namespace tidemark::simulation
