#pragma once

#include <functional>
#include <memory>

#include "nbd/memory_target.h"
#include "nbd/scripted_stream.h"
#include "nbd/session.h"
#include "sim/world.h"

namespace tidemark::nbd::test {

// A session that hears the script, from beginning to end: it must end, and leave nothing behind. `meanwhile`
// may interfere once it runs.
inline void hear_out(
    sim::World& world, MemoryDirectory& directory, MemoryExport& disk, Script& script,
    const std::function<void(Session&)>& meanwhile = [](Session&) {}, TlsMode tls = {}) {
  // Virtual: far more than the time limits of a session together.
  constexpr Duration kPatience = Duration::seconds(120);
  {
    PayloadBudgets budgets{{128 << 10, 32 << 20}, {0, 64 << 20}};
    Session session(world.environment(), std::make_unique<ScriptedStream>(script), directory, budgets,
                    SessionLimits{}, tls);
    io::TaskScope scope(world);
    scope.spawn(session.run());
    meanwhile(session);
    world.run_for(kPatience);
    TM_ASSERT(scope.running() == 0);
    TM_ASSERT(session.requests_in_flight() == 0);
    TM_ASSERT(session.end() != SessionEnd::kRunning);
  }
  TM_ASSERT(disk.opened == disk.closed);
  TM_ASSERT(disk.running == 0);
}

}  // namespace tidemark::nbd::test
