#pragma once

#include <memory>
#include <set>
#include <vector>

#include "simulation/model.h"
#include "simulation/stage.h"

namespace tidemark::simulation {

using Requests = std::vector<std::shared_ptr<Issued>>;

// What was asked, and what the nodes' logs say became of it: keeps the model, and holds the order to the
// rules about acknowledgements, marks and crashes.
//
// The node of the first machine writes epochs of odd numbers, the other one those of even numbers.
class Chronicle {
 public:
  explicit Chronicle(Stage& stage);

  // Requests that were made on `writer`; the ones before have been accounted for.
  void add(const Machine& writer, Requests requests);
  // Reads from the log of `holder` what the model does not know yet: on the way to its head, and of the
  // branch that it wrote last itself.
  void learn(Machine& holder);
  void learn_own(Machine& holder);
  // After requests on `writer` have ended, or it has come back from a crash: what it holds is the truth now.
  // `lossy`: a disk lied, and nobody can be held to what only that disk knew.
  void account(Machine& writer, bool crashed, bool lossy);
  // What another one of the same stage knows.
  void adopt(const Chronicle& other);
  // What was acknowledged to a FLUSH or FUA on `writer` and `other` does not hold; nothing when it has all.
  // The requests under way count as far as they were answered, and what `other` holds of them was learnt.
  std::optional<std::string> flushed_missing(const Machine& writer, const group::Group& other) const;
  // A secondary that was copied anew has none of the branches that it wrote alone, and may use their numbers
  // again.
  void forget_if_given_up(Machine& holder);
  // What nobody else held is gone with its disk.
  void forget_writer(const Machine& writer);
  // The same, when `other` holds a part of it.
  void lose_writer(const Machine& writer, const group::Group& other);

  bool has_pending(const Machine& writer) const { return !side(writer).pending.empty(); }
  const Appended& appended(const Machine& writer) const { return side(writer).appended; }

  Model model;

 private:
  struct Side {
    Appended appended;
    Requests pending;
    std::size_t known_before = 0;  // of `appended`, when the requests pending were made
  };
  Side& side(const Machine& machine) { return sides_[&machine == &stage_.a ? 0 : 1]; }
  const Side& side(const Machine& machine) const { return sides_[&machine == &stage_.a ? 0 : 1]; }
  Side& author(LogId id) { return sides_[id.epoch().value % 2 == 1 ? 0 : 1]; }
  std::optional<LogId> newest_known(const group::Group& group);
  bool wait_until_durable(Machine& holder, LogId end);
  bool record_alone(const group::Group& group, Side& from);
  void learn_after(Machine& holder, LogId known, LogId end);
  void record(const group::Group& group, const group::ShownEntry& shown, LogId previous);
  // `before`: what the volumes hold just before the entry, where that is known.
  bool is_written_again(const group::Group& group, const group::ShownEntry& shown, const Image* before) const;
  std::shared_ptr<Issued> match(Side& from, const group::Group& group, const group::ShownEntry& shown,
                                const Image* before);
  void cut_what_a_crash_took(Machine& writer, bool lossy);
  void check_order(const Requests& requests);

  Stage& stage_;
  Side sides_[2];
  // Epochs into which blocks of a point come from the other node, and which count when all have come.
  std::set<Epoch> filling_;
};

}  // namespace tidemark::simulation
