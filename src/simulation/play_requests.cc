// What hosts ask, some at once, with a crash at any step of it.

#include "simulation/play.h"

#include <algorithm>

namespace tidemark::simulation {
namespace {

// What requests wrote is read from the log this often while they last: they may outlast the retention.
constexpr Duration kLearnInterval = Duration::seconds(2);

}  // namespace

CrashPlan Play::draw_crash() {
  CrashPlan crash;
  crash.victim = &any_machine();
  // Mostly soon: what is asked takes some tens of steps.
  crash.after_steps = draw(draw(2) == 0 ? 40 : 400);
  crash.power = draw(3) != 0;
  return crash;
}

Request Play::draw_request() {
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
  issued->to_secondary =
      machine->group() != nullptr && machine->group()->local().role == group::Role::kSecondary;
  issued->result = co_await carry_out(machine->node(), issued->request);
  issued->ended_at = stage->next_moment();
}

void Play::carry_out_all(Machine& writer, std::vector<Request> wanted, CrashPlan* crash) {
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
  const MonotonicTime helped_at = stage_.world.now() + Duration::seconds(100);
  MonotonicTime learn_at = stage_.world.now() + kLearnInterval;
  bool helped = false;
  const auto all_ended = [&issued] {
    return std::all_of(issued.begin(), issued.end(), [](const auto& one) { return one->ended_at != 0; });
  };
  while (!all_ended() && writer.is_on() && !stage_.failed()) {
    if (stage_.crash_if_due(crash)) continue;
    if (stage_.world.now() > learn_at && writer.group() != nullptr && !writer.gave_up_window) {
      chronicle_.learn(writer);
      learn_at = stage_.world.now() + kLearnInterval;
      continue;
    }
    if (!helped && stage_.options.sync.has_value() && stage_.world.now() > helped_at && writer.is_running()) {
      // A FLUSH waits for a peer that nobody brings back: it is told to go on without.
      helped = unheard_word_ = true;
      control::PairSetRequest set;
      set.group = kGroup;
      set.on_peer_loss = control::OnPeerLoss::kAsync;
      set.peer_loss_after = Duration::seconds(1);
      (void)stage_.ask(writer, writer.node()->pair_set(set));
      stage_.say(writer.name() + " is told to go on without its peer");
      continue;
    }
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

// A FLUSH of a synchronous pair that has lost its peer, or has just been taken over.
bool Play::may_fail_for_the_peer(const Machine& machine, const Request& request) const {
  const bool waits = request.fua || request.kind == Request::Kind::kFlush;
  return stage_.options.sync.has_value() && (roles_move_ || &machine == &stage_.a) && waits;
}

// An error has to follow from the state.
void Play::explain(Machine& machine, const Issued& issued) {
  const Error& error = issued.result.error();
  stage_.say(machine.name() + " " + issued.request.to_string() + ": " + error_code_name(error.code) + ", " +
             error.message);
  if (machine.disk_may_fail || !machine.is_running() || machine.group() == nullptr) return;
  const bool is_of_the_peer = error.code == ErrorCode::kIo || error.code == ErrorCode::kReadOnly;
  if (is_of_the_peer && may_fail_for_the_peer(machine, issued.request)) return;
  switch (error.code) {
    case ErrorCode::kNoSpace:
      return;
    // A primary that has not heard its peer since the start lets who comes wait, but not for ever; so does a
    // node that has given way and is being brought up to date.
    case ErrorCode::kBusy:
      if (stage_.options.pair && (roles_move_ || &machine == &a())) return;
      if (!machine.group()->check_accepting().ok()) return;
      break;
    // The other node is asked for it, which may be down, cut off, or have had other volumes.
    case ErrorCode::kTimeout:
    case ErrorCode::kUnsupported:
      if (issued.request.from_peer) return;
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
      if (issued.request.kind == Request::Kind::kRestore || issued.to_secondary) return;
      if (!machine.group()->check_accepting().ok()) return;
      break;
    default:
      break;
  }
  stage_.broken(Rule::kRefusalsAreExpected, machine.name() + ": " + issued.request.to_string() + ": " +
                                                error_code_name(error.code) + ", " + error.message);
}

void Play::requests(bool with_crash) {
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
  if (!with_crash && !stage_.failed() && at == &a() && !roles_move_) reader_.note_moment();
  if (with_crash && draw(2) == 0) mend();
}

void Play::restore() {
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
  request.from_peer = roles_move_ && draw(2) == 0;
  CrashPlan crash;
  if (stage_.options.weight(Step::kCrashInside) > 0 && draw(4) == 0) crash = draw_crash();
  carry_out_all(*at, {request}, &crash);
}

}  // namespace tidemark::simulation
