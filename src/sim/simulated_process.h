#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "io/sync.h"
#include "sim/disk.h"
#include "sim/world.h"

namespace tidemark::sim {

// What one node has in memory: its tasks and its objects. A test ends it at any moment, as a killed
// process or a power cut would, while the world, the disks and the other nodes go on.
//
//   SimulatedProcess node(world);
//   node.use(disk);
//   Journal& journal = node.own(std::move(world.run(Journal::open(...))).value());
//   node.tasks().spawn(write_on_and_on(journal));
//   world.run_for(Duration::milliseconds(3));
//   node.power_cut();   // then open the same disk in a new process
//
// The disks that it uses must outlive it. Not to be ended from inside one of its own tasks.
class SimulatedProcess {
 public:
  explicit SimulatedProcess(World& world) : tasks_(world) {}
  SimulatedProcess(const SimulatedProcess&) = delete;
  SimulatedProcess& operator=(const SimulatedProcess&) = delete;
  ~SimulatedProcess() { kill(); }

  io::TaskScope& tasks() { return tasks_; }
  // Keeps `object` until the end. What was handed in later goes first, as with locals.
  template <typename T>
  T& own(std::unique_ptr<T> object) {
    T& reference = *object;
    objects_.emplace_back(std::shared_ptr<T>(std::move(object)));
    return reference;
  }
  // A disk that loses its power with this node.
  void use(Disk& disk) { disks_.push_back(&disk); }

  // Ends the process alone: operations that the disks were given are still done.
  void kill() {
    tasks_.cancel_all();
    while (!objects_.empty()) objects_.pop_back();
  }
  // Ends the process and cuts the power of its disks, so that operations in flight end as they may.
  void power_cut() {
    kill();
    for (Disk* disk : disks_) disk->crash();
  }

 private:
  std::vector<Disk*> disks_;
  std::vector<std::shared_ptr<void>> objects_;
  io::TaskScope tasks_;
};

}  // namespace tidemark::sim
