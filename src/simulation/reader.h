#pragma once

#include <string>
#include <vector>

#include "simulation/chronicle.h"
#include "simulation/stage.h"

namespace tidemark::simulation {

// Reads what nodes show, at any point of any branch, and holds it to the model.
class Reader {
 public:
  Reader(Stage& stage, Chronicle& chronicle) : stage_(stage), chronicle_(chronicle) {}

  // The first machine's head now, to be asked for by its time later. Nothing is under way there.
  void note_moment();
  // From here on a time may mean another entry.
  void forget_moments() { moments_.clear(); }
  // Of all that was ever appended and not lost.
  LogId draw_known_point();
  // Each does nothing when `machine` is null.
  void read_some_point(Machine* machine);
  // The blocks of one entry before and after it.
  void read_entry_data(Machine* machine);
  // Somebody opens a view and reads it now and then, while all goes on: it never shows anything else.
  void open_view(Machine* machine);
  // Every known point, on every node.
  void compare_all();
  // How a read may end on a disk that is damaged: right, or with an error; where one disk cannot know better,
  // also with what a block held earlier.
  enum class Damage : std::uint8_t { kNone, kErrorsAllowed, kOlderAllowed };
  void check(Machine& machine, const std::string& name, LogId at, Damage damage);

 private:
  bool is_older(const Image& expected, const Image& seen) const;

  struct Moment {
    WallTime time{};
    LogId head{};
  };
  Stage& stage_;
  Chronicle& chronicle_;
  std::vector<Moment> moments_;
};

}  // namespace tidemark::simulation
