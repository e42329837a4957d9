#include "simulation/damage.h"

#include <map>
#include <set>
#include <vector>

#include "base/crc32c.h"
#include "simulation/atlas.h"

namespace tidemark::simulation {
namespace {

class Damager {
 public:
  Damager(Stage& stage, Chronicle& chronicle, Reader& reader)
      : stage_(stage), chronicle_(chronicle), reader_(reader) {}

  void run();

 private:
  std::uint64_t draw(std::uint64_t bound) { return stage_.draw(bound); }
  void write_under(sim::DiskFault fault);
  void damage_at_rest();
  void damage_newest();
  bool write_durably();
  void damage_page(std::uint64_t at, const std::vector<std::uint64_t>& pages);
  void start_damaged(LogId head);
  std::map<std::uint64_t, std::uint32_t> checksums();
  void restart(bool in_order, bool lossy);
  void look();

  Stage& stage_;
  Chronicle& chronicle_;
  Reader& reader_;
  Machine* victim_ = nullptr;
  Reader::Damage allowed_ = Reader::Damage::kErrorsAllowed;  // on the victim
};

void Damager::run() {
  victim_ = stage_.options.pair && draw(2) == 0 ? &stage_.b : &stage_.a;
  if (victim_->group() == nullptr || !victim_->group()->local().window_open) return;
  std::uint64_t kind = draw(3);
  // A flush that waits for the secondary as long as it takes waits for what a damaged journal can no longer
  // send.
  const std::optional<format::SyncTerms>& sync = stage_.options.sync;
  const bool waits = sync.has_value() && sync->on_loss == format::PeerLoss::kWait;
  if (waits && kind == 2) kind = 0;
  if (kind == 0) {
    (void)stage_.ask(*victim_, holding(victim_->hold_group(), victim_->group()->destage_now(false)));
    restart(true, false);
    std::vector<sim::DiskFault> faults = faults_that_are(Meaning::kDetected);
    faults.push_back(sim::DiskFault::kStaleRead);
    for (std::uint32_t i = 0; i < stage_.options.damages && !stage_.failed(); ++i) {
      // Those of reads: nothing is written any more.
      const sim::DiskFault fault = faults[draw(faults.size())];
      stage_.say(victim_->name() + ": " + sim::disk_fault_name(fault) + " to come");
      victim_->disk().inject(fault, 1 + draw(8));
      if (meaning_of(fault) == Meaning::kUndecidable) allowed_ = Reader::Damage::kOlderAllowed;
    }
    look();
  } else if (kind == 1) {
    (void)stage_.ask(*victim_, holding(victim_->hold_group(), victim_->group()->destage_now(false)));
    if (victim_ == &stage_.a && !waits && draw(2) == 0) {
      damage_newest();
    } else {
      damage_at_rest();
    }
    look();
  } else if (victim_ == &stage_.a) {
    const sim::DiskFault faults[] = {sim::DiskFault::kLostWrite, sim::DiskFault::kMisdirectedWrite,
                                     sim::DiskFault::kFlushLies};
    write_under(faults[draw(std::size(faults))]);
    look();
  }
}

// The disk is stopped, and what lies on it changes.
void Damager::damage_at_rest() {
  victim_->end_clients();
  const LogId head = victim_->group()->head();
  (void)stage_.ask(*victim_, victim_->stop_task());
  if (stage_.failed()) return;
  victim_->kill();
  sim::Disk& disk = victim_->disk();
  const std::vector<std::uint64_t> pages = disk.stored_pages();
  // On so small a disk the two copies of the extent table lie side by side. A fault that takes both leaves
  // nothing to tell by: docs/fault-model.md.
  std::set<std::uint64_t> damaged;
  for (std::uint32_t i = 0; i < stage_.options.damages; ++i) {
    const std::uint64_t at = pages[draw(pages.size())];
    if (damaged.contains(at - kBlockSizeBytes) || damaged.contains(at + kBlockSizeBytes)) continue;
    damaged.insert(at);
    damage_page(at, pages);
  }
  start_damaged(head);
}

void Damager::damage_page(std::uint64_t at, const std::vector<std::uint64_t>& pages) {
  sim::Disk& disk = victim_->disk();
  switch (draw(3)) {
    case 0:
      stage_.say(victim_->name() + ": a bit turns in the page at byte " + std::to_string(at));
      disk.flip_bit(at + draw(4096), static_cast<unsigned>(draw(8)));
      break;
    case 1: {
      stage_.say(victim_->name() + ": the page at byte " + std::to_string(at) + " turns to zeroes");
      disk.poke(at, std::vector<std::byte>(4096));
      break;
    }
    default: {
      const std::uint64_t from = pages[draw(pages.size())];
      stage_.say(victim_->name() + ": the page at byte " + std::to_string(at) + " gets what lies at byte " +
                 std::to_string(from));
      std::vector<std::byte> bytes(4096);
      disk.peek(from, bytes);
      disk.poke(at, bytes);
      break;
    }
  }
}

std::map<std::uint64_t, std::uint32_t> Damager::checksums() {
  std::map<std::uint64_t, std::uint32_t> out;
  std::vector<std::byte> bytes(4096);
  for (const std::uint64_t at : victim_->disk().stored_pages()) {
    victim_->disk().peek(at, bytes);
    out[at] = crc32c(bytes);
  }
  return out;
}

// A write that is acknowledged as durable; false when none can be had.
bool Damager::write_durably() {
  Request request;
  request.blocks = {0, 1};
  request.first_value = 0x5000'0000;
  request.fua = true;
  auto issued = std::make_shared<Issued>();
  issued->request = request;
  issued->issued_at = stage_.next_moment();
  const auto done = stage_.ask(*victim_, carry_out(victim_->node(), request));
  if (!done.has_value()) return false;
  issued->result = *done;
  issued->ended_at = stage_.next_moment();
  chronicle_.add(*victim_, {issued});
  chronicle_.account(*victim_, false, false);
  return done->ok() && !stage_.failed();
}

// One page of those that the last durable write and what came after it changed, behind a kill. A seal or the
// superblock tells that the write had been durable, so it is no torn tail.
void Damager::damage_newest() {
  victim_->end_clients();
  const std::map<std::uint64_t, std::uint32_t> before = checksums();
  if (!write_durably()) return;
  if (draw(2) == 0) {
    // The superblock tells instead, and no seal has come yet, or just now.
    (void)stage_.ask(*victim_, holding(victim_->hold_group(),
                                       victim_->group()->set_settings(victim_->group()->local().settings)));
  } else {
    const std::map<std::uint64_t, std::uint32_t> written = checksums();
    stage_.world.run_for(Duration::milliseconds(500));
    // Where it ended with its segment there is no seal, and nothing tells.
    if (checksums() == written) return;
  }
  if (victim_->group() == nullptr || stage_.failed()) return;
  const LogId head = victim_->group()->head();
  stage_.crash(*victim_, false);
  std::vector<std::uint64_t> newest;
  for (const auto& [at, checksum] : checksums()) {
    const auto was = before.find(at);
    if (was == before.end() || was->second != checksum) newest.push_back(at);
  }
  if (!newest.empty()) damage_page(newest[draw(newest.size())], newest);
  start_damaged(head);
}

void Damager::start_damaged(LogId head) {
  victim_->power_on();
  const auto started = stage_.ask(*victim_, victim_->start_task());
  if (!started.has_value()) return;
  if (!started->ok() || victim_->group() == nullptr) {
    stage_.say(victim_->name() +
               " refuses the disk: " + (started->ok() ? "its group" : started->error().message));
    return;
  }
  if (victim_->group()->head() < head && victim_->group()->head().epoch() == head.epoch()) {
    stage_.broken(Rule::kDamageIsRefused,
                  victim_->name() + " had log:" + head.to_string() +
                      " and after damage shows log:" + victim_->group()->head().to_string() + " as its head");
  }
}

void Damager::restart(bool in_order, bool lossy) {
  victim_->end_clients();
  if (in_order) {
    (void)stage_.ask(*victim_, victim_->stop_task());
    if (stage_.failed()) return;
    victim_->kill();
  } else {
    stage_.crash(*victim_, draw(2) == 0);
  }
  victim_->power_on();
  const auto started = stage_.ask(*victim_, victim_->start_task());
  if (!started.has_value() || stage_.failed()) return;
  if (!started->ok() || victim_->group() == nullptr) {
    stage_.say(victim_->name() +
               " refuses the disk: " + (started->ok() ? "its group" : started->error().message));
    if (!lossy)
      stage_.broken(Rule::kFlushedSurvives, victim_->name() + " does not come back from an orderly stop");
    return;
  }
  chronicle_.account(*victim_, !in_order, lossy);
}

// A write that the disk says it did, or a flush.
void Damager::write_under(sim::DiskFault fault) {
  stage_.say(victim_->name() + ": " + sim::disk_fault_name(fault) + " to come");
  victim_->disk().inject(fault, 1 + draw(6));
  if (meaning_of(fault) == Meaning::kUndecidable) allowed_ = Reader::Damage::kOlderAllowed;
  for (std::uint32_t value = 0; value < 8 && victim_->group() != nullptr && !stage_.failed(); ++value) {
    Request request;
    request.volume = draw(kVolumeCount);
    request.blocks.begin = draw(stage_.options.volume_blocks);
    request.blocks.end = request.blocks.begin + 1;
    request.first_value = 0x4000'0000 + value;
    request.fua = draw(3) == 0;
    auto issued = std::make_shared<Issued>();
    issued->request = request;
    issued->issued_at = stage_.next_moment();
    auto done = stage_.ask(*victim_, carry_out(victim_->node(), request));
    if (!done.has_value()) return;
    issued->result = *done;
    issued->ended_at = stage_.next_moment();
    chronicle_.add(*victim_, {issued});
    // The log cannot be read where it was lost; then nothing more is known of what comes after.
    const auto shown =
        stage_.ask(*victim_, holding(victim_->hold_group(),
                                     victim_->group()->show_entries(victim_->group()->head().previous(), 1)));
    if (!shown.has_value() || !shown->ok() || !done->ok()) break;
    chronicle_.account(*victim_, false, true);
  }
  if (stage_.failed() || victim_->group() == nullptr) return;
  (void)stage_.ask(*victim_, holding(victim_->hold_group(), victim_->group()->destage_now(true)));
  if (!stage_.failed()) restart(false, true);
}

void Damager::look() {
  for (Machine* machine : {&stage_.a, &stage_.b}) {
    if (machine->group() == nullptr || stage_.failed()) continue;
    const Reader::Damage allowed = machine == victim_ ? allowed_ : Reader::Damage::kNone;
    for (const auto& [raw, image] : chronicle_.model.images()) {
      const LogId at = LogId::from_raw(raw);
      if (draw(3) == 0) reader_.check(*machine, "log:" + at.to_string(), at, allowed);
    }
  }
}

}  // namespace

void damage_and_look(Stage& stage, Chronicle& chronicle, Reader& reader) {
  Damager(stage, chronicle, reader).run();
}

}  // namespace tidemark::simulation
