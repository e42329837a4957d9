#include "control/metrics.h"

#include <cstdio>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "control/types_fields.h"

namespace tidemark::control {
namespace {

using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

// Samples of one family must stand together, so they are gathered by name first.
class Exposition {
 public:
  void gauge(const char* name, const char* help, const Labels& labels, double value) {
    add(name, "gauge", help, labels, value);
  }
  void counter(const char* name, const char* help, const Labels& labels, std::uint64_t value) {
    add(name, "counter", help, labels, static_cast<double>(value));
  }
  std::string text() const {
    std::string out;
    for (const auto& [name, family] : families_) {
      out += "# HELP " + name + " " + family.help + "\n# TYPE " + name + " " + family.type + "\n" +
             family.samples;
    }
    return out;
  }

 private:
  struct Family {
    std::string type;
    std::string help;
    std::string samples;
  };

  void add(const char* name, const char* type, const char* help, const Labels& labels, double value) {
    Family& family = families_[name];
    family.type = type;
    family.help = help;
    family.samples += name;
    char separator = '{';
    for (const auto& [key, text] : labels) {
      family.samples += separator + std::string(key) + "=\"" + escaped(text) + "\"";
      separator = ',';
    }
    char number[40];
    std::snprintf(number, sizeof number, "%.17g", value);
    family.samples += std::string(labels.empty() ? "" : "}") + " " + number + "\n";
  }

  static std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c == '\\' || c == '"') out.push_back('\\');
      out += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    return out;
  }

  std::map<std::string, Family> families_;
};

double seconds(WallTime time) {
  return static_cast<double>(time.ns) / 1e9;
}

void add_volume(Exposition& out, const VolumeInfo& volume) {
  const Labels labels{{"group", volume.group}, {"volume", volume.volume}};
  out.gauge("tidemark_volume_size_bytes", "Size as hosts see it.", labels,
            static_cast<double>(volume.size_bytes));
  out.gauge("tidemark_volume_allocated_bytes", "Space that the base takes.", labels,
            static_cast<double>(volume.allocated_bytes));
  out.gauge("tidemark_volume_dirty_bytes", "Acknowledged, not yet in the base.", labels,
            static_cast<double>(volume.cache.dirty_bytes));
  out.counter("tidemark_volume_written_bytes_total", "Written to the journal.", labels,
              volume.cache.written_bytes);
  out.counter("tidemark_volume_destaged_bytes_total", "Moved from the journal to the base.", labels,
              volume.cache.destaged_bytes);
  out.gauge("tidemark_volume_writers", "Connected clients that can write.", labels, volume.writers_connected);
  const auto accesses = [&](const char* operation, const char* result, std::uint64_t value) {
    Labels all = labels;
    all.emplace_back("operation", operation);
    all.emplace_back("result", result);
    out.counter("tidemark_volume_cache_accesses_total", "Block accesses by cache hit and miss.", all, value);
  };
  accesses("read", "hit", volume.cache.read_hits);
  accesses("read", "miss", volume.cache.read_misses);
  accesses("write", "hit", volume.cache.write_hits);
  accesses("write", "miss", volume.cache.write_misses);
}

void add_pair(Exposition& out, const PairStatus& pair, const std::string& group) {
  const Labels labels{{"group", group}};
  out.gauge("tidemark_pair_state", "1 with the pair's role and state as labels.",
            {{"group", group}, {"role", word(pair.role)}, {"state", word(pair.state)}}, 1);
  out.gauge("tidemark_pair_link_up", "1 while the peer is connected.", labels, pair.link_up ? 1 : 0);
  out.gauge("tidemark_pair_lag_entries", "Log entries that the secondary has not received.", labels,
            static_cast<double>(pair.lag_entries));
  out.gauge("tidemark_pair_lag_bytes", "Bytes that the secondary has not received.", labels,
            static_cast<double>(pair.lag_bytes));
  out.gauge("tidemark_pair_lag_seconds", "Age of the oldest entry not received.", labels, pair.lag_seconds);
  const auto traffic = [&](const char* direction, std::uint64_t bytes, std::uint64_t uncompressed_bytes) {
    const Labels both{{"group", group}, {"direction", direction}};
    out.counter("tidemark_pair_link_bytes_total", "Bytes over the pair's links, headers and all.", both,
                bytes);
    out.counter("tidemark_pair_link_uncompressed_bytes_total",
                "What the bytes over the pair's links would have been without compression.", both,
                uncompressed_bytes);
  };
  traffic("sent", pair.link_sent_bytes, pair.link_sent_uncompressed_bytes);
  traffic("received", pair.link_received_bytes, pair.link_received_uncompressed_bytes);
  if (!pair.in_sync.has_value()) return;
  out.gauge("tidemark_pair_in_sync",
            "Of a synchronous pair: 1 while nothing acknowledged to a FLUSH is missing on the secondary.",
            labels, *pair.in_sync ? 1 : 0);
  out.gauge("tidemark_pair_flushes_waiting", "FLUSHes and FUAs that wait for the secondary.", labels,
            static_cast<double>(pair.flushes_waiting));
}

void add_api(Exposition& out, const ApiCounters& api) {
  const auto denied = [&out](const char* reason, std::uint64_t value) {
    out.counter("tidemark_control_denied_total",
                "Requests to the control API that their sender may not make.", {{"reason", reason}}, value);
  };
  denied("no-token", api.denied_without_token);
  denied("unknown-token", api.denied_unknown_token);
  denied("expired-token", api.denied_expired_token);
  denied("role", api.denied_role_too_low);
  out.counter("tidemark_control_handshakes_refused_total",
              "Connections to the control API on which TLS failed.", {}, api.handshakes_refused);
  out.counter("tidemark_control_connections_dropped_total",
              "Connections to the control API that were too slow, or too many, to say what they want.", {},
              api.connections_dropped);
}

}  // namespace

std::string metrics_text(const NodeStatus& status, const ApiCounters& api) {
  Exposition out;
  out.gauge("tidemark_node_info", "1 with the node's name and version as labels.",
            {{"node", status.node}, {"version", status.version}}, 1);
  out.gauge("tidemark_problems", "Problems that `tidemark status` shows.", {},
            static_cast<double>(status.problems.size()));
  out.gauge("tidemark_pool_capacity_bytes", "Space on the node's disks.", {},
            static_cast<double>(status.pool_capacity_bytes));
  out.gauge("tidemark_pool_used_bytes", "Space allocated on the node's disks.", {},
            static_cast<double>(status.pool_used_bytes));
  out.gauge("tidemark_pool_journals_bytes", "Of the allocated space, what journals take.", {},
            static_cast<double>(status.pool_journals_bytes));
  for (const GroupInfo& group : status.groups) {
    const Labels labels{{"group", group.group}};
    out.gauge("tidemark_group_state", "1 with the group's role and state as labels.",
              {{"group", group.group}, {"role", word(group.role)}, {"state", word(group.state)}}, 1);
    out.gauge("tidemark_group_marks", "Marks that the group keeps.", labels,
              static_cast<double>(group.marks));
    out.gauge("tidemark_journal_capacity_bytes", "Size of the journal.", labels,
              static_cast<double>(group.journal.capacity_bytes));
    out.gauge("tidemark_journal_used_bytes", "Part of the journal in use.", labels,
              static_cast<double>(group.journal.used_bytes));
    out.gauge("tidemark_journal_floor_timestamp_seconds", "Timer value of the oldest readable point.", labels,
              seconds(group.journal.floor.timer));
    out.gauge("tidemark_journal_head_timestamp_seconds", "Timer value of the newest entry.", labels,
              seconds(group.journal.head.timer));
    for (const VolumeInfo& volume : group.volumes) add_volume(out, volume);
    if (group.pair.has_value()) add_pair(out, *group.pair, group.group);
  }
  add_api(out, api);
  return out.text();
}

}  // namespace tidemark::control
