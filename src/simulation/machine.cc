#include "simulation/machine.h"

namespace tidemark::simulation {
namespace {

io::Task<Result<index::OpenedIndex>> open_memory_index() {
  index::OpenedIndex opened;
  opened.index = index::make_memory_index();
  co_return opened;
}

}  // namespace

Machine::Machine(sim::World& world, MachineOptions options, LogLine log_line)
    : world_(world),
      options_(std::move(options)),
      environment_(world.environment(options_.clock_drift_ppm)),
      log_line_(std::move(log_line)) {
  replace_disk();
}

void Machine::replace_disk() {
  TM_ASSERT(process_ == nullptr);
  disk_ = std::make_unique<sim::Disk>(world_, options_.disk_bytes, options_.disk);
}

void Machine::power_on() {
  TM_ASSERT(process_ == nullptr);
  process_ = std::make_unique<sim::SimulatedProcess>(world_);
  started_at_ = world_.now();
  process_->use(*disk_);
  clients_ = std::make_unique<io::TaskScope>(world_);
}

io::Task<Result<void>> Machine::start_task() {
  node::NodeConfiguration configuration;
  configuration.identity.bytes.fill(options_.identity_byte);
  configuration.name = options_.name;
  configuration.cache_size_bytes = node::kCacheSizeBytesMin;
  configuration.journal_segment_size_bytes = options_.segment_bytes;
  configuration.recent_size_bytes = options_.recent_bytes;
  group::IndexFactory make_index = [](GroupIdentity) { return open_memory_index(); };
  node::Log log = [this](const std::string& event, const std::string& text) {
    if (event == "pair-window-given-up") {
      gave_up_window = true;
      ++windows_given_up;
    }
    std::string line = options_.name;
    line.append(": ").append(event).append(" ").append(text);
    log_line_(line);
  };
  auto started = co_await node::Node::start(environment_, *disk_, std::move(configuration),
                                            std::move(make_index), node::OpenCatalog(), std::move(log));
  if (!started.ok()) co_return std::move(started).error();
  node::Node& node = process_->own(std::move(started).value());
  TM_CO_TRY_ASSIGN(const io::Address at, io::Address::parse(address()));
  TM_CO_TRY_ASSIGN(std::unique_ptr<io::Listener> listener, co_await world_.network().listen(at));
  process_->tasks().spawn(node.pairs().serve(std::move(listener)));
  node.set_addresses({}, {}, {address()});
  node_ = &node;
  co_return Result<void>{};
}

void Machine::kill() {
  node_ = nullptr;
  clients_ = nullptr;
  process_->kill();
  process_ = nullptr;
}

void Machine::power_cut() {
  node_ = nullptr;
  clients_ = nullptr;
  process_->power_cut();
  process_ = nullptr;
}

}  // namespace tidemark::simulation
