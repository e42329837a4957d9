#include <algorithm>

#include "index/version_index.h"

namespace tidemark::index {

bool Path::contains(LogId id) const {
  // Epochs fall strictly along the steps, so at most one step can hold the id.
  const auto step = std::lower_bound(steps.begin(), steps.end(), id.epoch(),
                                     [](const PathStep& s, Epoch epoch) { return s.epoch > epoch; });
  return step != steps.end() && step->epoch == id.epoch() && step->first_sequence <= id.sequence() &&
         id.sequence() <= step->last_sequence;
}

}  // namespace tidemark::index
