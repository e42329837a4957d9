#include "show.h"

#include <cstdio>

#include "base/names.h"
#include "control/types_fields.h"
#include "table.h"

namespace tidemark::cli {

using control::word;

namespace {

std::string with_reason(std::string_view state, const std::string& reason) {
  return std::string(state) + (reason.empty() ? "" : " (" + reason + ")");
}

// "-" where nothing is known.
std::string known(LogId id) {
  return id.is_none() ? "-" : id.to_string();
}

std::string window_text(const control::JournalStatus& journal) {
  return short_time(journal.floor.timer) + " .. " + short_time(journal.head.timer);
}

std::string seconds_text(double seconds) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f s", seconds);
  return text;
}

// "2026-05-01 12:00:00, log:1.1 to log:1.9 and the base: good"
std::string verified_text(const control::VerifiedInfo& verified) {
  std::string text = short_time(verified.time);
  if (verified.first && verified.last)
    text += ", log:" + verified.first->to_string() + " to log:" + verified.last->to_string();
  text += verified.base ? ", with the base: " : ", without the base: ";
  if (verified.damages == 0) return text + "good";
  return text + std::to_string(verified.damages) + (verified.damages == 1 ? " damage" : " damages");
}

std::string compared_text(const control::ComparedInfo& compared) {
  const std::string text = short_time(compared.time) + ", at log:" + compared.point.to_string() + ": ";
  if (compared.differing_bytes == 0) return text + "the same on both";
  return text + format_size(compared.differing_bytes) + " differed" +
         (compared.repaired_bytes == 0 ? "" : ", " + format_size(compared.repaired_bytes) + " were repaired");
}

void add_journal_facts(Facts& facts, const control::JournalStatus& journal) {
  facts.add("floor", point_text(journal.floor));
  facts.add("head", point_text(journal.head));
  if (journal.durable) facts.add("durable", point_text(*journal.durable));
  if (journal.destaged) facts.add("destaged", journal.destaged->to_string());
  facts.add("journal", format_size(journal.used_bytes) + " of " + format_size(journal.capacity_bytes) + " (" +
                           percent(journal.used_bytes, journal.capacity_bytes) + ")");
  std::string raids;
  for (const control::LogVolumeInfo& log_volume : journal.log_volumes) {
    if (log_volume.raid.empty() ||
        (" " + raids + ",").find(" " + log_volume.raid + ",") != std::string::npos) {
      continue;
    }
    raids += (raids.empty() ? "" : ", ") + log_volume.raid;
  }
  facts.add_known("journal on", raids.empty() ? "" : "RAID group " + raids);
  facts.add("retain", format_duration(journal.retain));
  facts.add("on full", std::string(word(journal.on_full)));
  if (journal.log_started) {
    facts.add("log", "acquired since " + journal.log_started->to_string() +
                         (journal.log_kept_here ? ", kept here" : ", kept on the secondary"));
  }
  if (journal.verified) facts.add("last verified", verified_text(*journal.verified));
  for (const control::PinInfo& pin : journal.pins) {
    facts.add("pinned",
              pin.kind + " at " + pin.log_id.to_string() + (pin.text.empty() ? "" : ": " + pin.text));
  }
}

}  // namespace

void show_group_table(const std::vector<control::GroupInfo>& groups) {
  Table table({"GROUP", "ROLE", "STATE", ">VOLUMES", ">MARKS", ">JOURNAL", "WINDOW", "PAIR"});
  for (const control::GroupInfo& group : groups) {
    const std::string pair =
        group.pair ? std::string(word(group.pair->state)) + (group.pair->link_up ? "" : ", link down") : "-";
    table.row({group.group, std::string(word(group.role)), std::string(word(group.state)),
               std::to_string(group.volumes.size()), std::to_string(group.marks),
               percent(group.journal.used_bytes, group.journal.capacity_bytes), window_text(group.journal),
               pair});
  }
  table.print();
}

void show_group(const control::GroupInfo& group) {
  Facts facts;
  facts.add("group", group.group);
  facts.add_known("identity", group.identity);
  facts.add("role", std::string(word(group.role)));
  facts.add("state", with_reason(word(group.state), group.state_reason));
  facts.add("epoch", std::to_string(group.epoch));
  add_journal_facts(facts, group.journal);
  facts.add("marks", std::to_string(group.marks));
  if (group.last_mark)
    facts.add("last mark", group.last_mark->id + "  " + short_time(group.last_mark->timer));
  if (group.pair) facts.add("pair", pair_line(*group.pair));
  facts.print();
  if (group.volumes.empty()) return;
  std::printf("\n");
  show_volume_table(group.volumes);
}

void show_volume_table(const std::vector<control::VolumeInfo>& volumes, const std::string& indent) {
  Table table({"VOLUME", ">SIZE", ">ALLOCATED", ">READ HITS", ">WRITE HITS", ">DIRTY", ">WRITERS"});
  for (const control::VolumeInfo& volume : volumes) {
    table.row({volume.group + "/" + volume.volume, format_size(volume.size_bytes),
               format_size(volume.allocated_bytes),
               hit_rate(volume.cache.read_hits, volume.cache.read_misses),
               hit_rate(volume.cache.write_hits, volume.cache.write_misses),
               format_size(volume.cache.dirty_bytes), std::to_string(volume.writers_connected)});
  }
  table.print(indent);
}

void show_volume(const control::VolumeInfo& volume) {
  Facts facts;
  facts.add("volume", volume.group + "/" + volume.volume);
  facts.add("number", std::to_string(volume.number));
  facts.add("logical unit", std::to_string(volume.lu_number));
  facts.add_known("RAID group", volume.raid);
  facts.add("size", format_size(volume.size_bytes) + " (" + std::to_string(volume.size_bytes) + " bytes)");
  facts.add("allocated", format_size(volume.allocated_bytes));
  facts.add("read only", yes_no(volume.read_only));
  facts.add("writers", std::to_string(volume.writers_connected));
  facts.add("readers", std::to_string(volume.readers_connected));
  facts.add("read hits", hit_rate(volume.cache.read_hits, volume.cache.read_misses));
  facts.add("write hits", hit_rate(volume.cache.write_hits, volume.cache.write_misses));
  facts.add("dirty", format_size(volume.cache.dirty_bytes));
  facts.add("written", format_size(volume.cache.written_bytes) + " since the start, of which " +
                           format_size(volume.cache.destaged_bytes) + " moved to the base");
  facts.print();
}

namespace {

// "sync, in sync since ..." or "sync, not in sync since ... (why)".
std::string mode_text(const control::PairStatus& pair) {
  std::string text(word(pair.mode));
  if (!pair.in_sync) return text;
  text += *pair.in_sync ? ", in sync" : ", not in sync";
  if (pair.sync_since) text += " since " + format_time(*pair.sync_since);
  return with_reason(text, pair.sync_reason);
}

std::string peer_loss_text(const control::PairStatus& pair) {
  std::string text = *pair.on_peer_loss == control::OnPeerLoss::kAsync  ? "goes on as async"
                     : *pair.on_peer_loss == control::OnPeerLoss::kWait ? "FLUSH and FUA wait"
                                                                        : "FLUSH and FUA fail";
  if (pair.peer_loss_after) text += " after " + format_duration(*pair.peer_loss_after);
  return text;
}

// "12.3 MiB, 24 % of 51.0 MiB uncompressed", or only what went over the link.
std::string traffic_text(std::uint64_t bytes, std::uint64_t uncompressed_bytes) {
  std::string text = format_size(bytes);
  if (bytes != uncompressed_bytes) {
    text += ", " + percent(bytes, uncompressed_bytes) + " of " + format_size(uncompressed_bytes) +
            " uncompressed";
  }
  return text;
}

std::vector<std::string> window_row(const std::string& node, const control::PairWindow& window) {
  return {
      node, point_text(window.floor), point_text(window.newest),
      format_size(window.journal_used_bytes) + " of " + format_size(window.journal_capacity_bytes) + " (" +
          percent(window.journal_used_bytes, window.journal_capacity_bytes) + ")",
      window.last_mark.empty() ? "-" : window.last_mark + " (" + window.last_mark_log_id->to_string() + ")"};
}

void show_windows(const control::PairStatus& pair) {
  const std::string peer = pair.peer_node.empty() ? "peer" : pair.peer_node;
  Table table({"WINDOW", "FLOOR", "NEWEST", "JOURNAL", "LAST MARK"});
  table.row(window_row("here", pair.window));
  if (pair.peer_window) table.row(window_row(peer, *pair.peer_window));
  table.print();
  if (!pair.peer_window_reason.empty()) {
    std::printf("what %s can show is not known: %s\n", printable(peer).c_str(),
                printable(pair.peer_window_reason).c_str());
  }
}

}  // namespace

std::string pair_line(const control::PairStatus& pair) {
  std::string line = std::string(word(pair.state)) + ", " + std::string(word(pair.role));
  // The secondary is called by its primary and knows no address of it.
  line += " with " + (pair.peer_node.empty() ? pair.peer_address : pair.peer_node) + ", link " +
          (pair.link_up ? "up" : "down");
  if (pair.state == control::PairState::kCopy && pair.copy_total_bytes != 0)
    line += ", copied " + percent(pair.copy_done_bytes, pair.copy_total_bytes);
  if (pair.in_sync) line += *pair.in_sync ? ", in sync" : ", sync mode and not in sync";
  if (pair.lag_entries != 0) {
    line += ", " + std::to_string(pair.lag_entries) + " entries (" + format_size(pair.lag_bytes) + ", " +
            seconds_text(pair.lag_seconds) + ") behind";
  }
  return line;
}

void show_pair(const control::PairStatus& pair) {
  if (pair.state == control::PairState::kSmpl) {
    const std::string group = printable(pair.group);
    std::printf("group %s has no pair; make one with: tidemark pair create %s --peer ADDRESS\n",
                group.c_str(), group.c_str());
    return;
  }
  Facts facts;
  facts.add("group", pair.group);
  facts.add("role", std::string(word(pair.role)));
  facts.add("state", with_reason(word(pair.state), pair.state_reason));
  if (pair.state_since) facts.add("since", format_time(*pair.state_since));
  facts.add("mode", mode_text(pair));
  if (pair.on_peer_loss) facts.add("on peer loss", peer_loss_text(pair));
  if (pair.flushes_waiting != 0) facts.add("flushes waiting", std::to_string(pair.flushes_waiting));
  facts.add_known("peer", pair.peer_address);
  facts.add_known("peer node", pair.peer_node);
  facts.add_known("peer certificate", pair.peer_certificate);
  facts.add_known("peer group", pair.peer_group);
  facts.add("link", std::string(pair.link_up ? "up" : "down") +
                        (pair.link_since ? " since " + format_time(*pair.link_since) : ""));
  facts.add("compress", std::string(word(pair.compress)));
  facts.add("traffic", "sent " + traffic_text(pair.link_sent_bytes, pair.link_sent_uncompressed_bytes) +
                           "; received " +
                           traffic_text(pair.link_received_bytes, pair.link_received_uncompressed_bytes));
  if (pair.duplex_suspended_since)
    facts.add("duplex",
              "suspended since " + pair.duplex_suspended_since->to_string() + ", the log is acquired");
  if (pair.state == control::PairState::kCopy && pair.copy_total_bytes != 0) {
    facts.add("copied", format_size(pair.copy_done_bytes) + " of " + format_size(pair.copy_total_bytes) +
                            " (" + percent(pair.copy_done_bytes, pair.copy_total_bytes) + ")");
    if (pair.copy_rate_bytes != 0) facts.add("copy rate", format_size(pair.copy_rate_bytes) + "/s at most");
  }
  facts.add("durable here", pair.durable.to_string());
  facts.add("sent", known(pair.sent));
  facts.add("received", known(pair.received));
  // How far the secondary is behind only the primary knows.
  if (pair.role == control::GroupRole::kPrimary)
    facts.add("behind", std::to_string(pair.lag_entries) + " entries, " + format_size(pair.lag_bytes) + ", " +
                            seconds_text(pair.lag_seconds));
  if (pair.compared) facts.add("last verified", compared_text(*pair.compared));
  facts.print();
  show_windows(pair);
}

void show_takeover(const control::PairTakeoverReply& taken) {
  Facts facts;
  facts.add("group", taken.pair.group);
  facts.add("continues after", taken.point.log_id.to_string() + "  " + format_time(taken.point.timer));
  facts.add("epoch", std::to_string(taken.new_epoch));
  if (taken.primary_head) {
    facts.add("primary had",
              taken.primary_head->to_string() + " when it was last heard" +
                  (taken.primary_head->raw() > taken.point.log_id.raw() ? ", more than is here" : ""));
  }
  const bool sync = taken.pair.mode == control::PairMode::kSync;
  if (taken.may_be_behind) {
    const std::string what = sync ? ", also in what a FLUSH covered" : "";
    facts.add("may be behind",
              (taken.behind_since ? "since " + format_time(*taken.behind_since) : "yes") + what);
  } else if (sync) {
    facts.add("in sync", "nothing that the primary acknowledged to a FLUSH is missing");
  }
  facts.add("state", with_reason(word(taken.pair.state), taken.pair.state_reason));
  facts.print();
}

void show_mark(const control::MarkInfo& mark) {
  Facts facts;
  facts.add("mark", mark.group + "/" + mark.id);
  facts.add("kind", mark.kind == control::MarkKind::kName ? "name given to a past point" : "mark");
  facts.add("log id", mark.log_id.to_string());
  facts.add("timer", format_time(mark.timer));
  if (mark.host_time) facts.add("host time", format_time(*mark.host_time));
  facts.add_known("host", mark.host);
  facts.add_known("note", mark.note);
  facts.add("held", yes_no(mark.held));
  facts.add("branch", mark.live ? "live" : "dead");
  if (mark.provisional) facts.add("provisional", "yes: its primary does not know it yet");
  if (mark.received) facts.add("received by peer", yes_no(*mark.received));
  facts.add("restorable", mark.restorable ? "yes" : with_reason("no", mark.not_restorable_reason));
  std::string logged;
  for (const control::LoggedVolume& volume : mark.logged_volumes) {
    logged += (logged.empty() ? "" : ", ") + volume.volume;
    if (volume.lu_number) logged += " (unit " + std::to_string(*volume.lu_number) + ")";
  }
  if (!mark.not_logged_reason.empty()) logged = with_reason("none", mark.not_logged_reason);
  facts.add_known("logged on " + mark.logged_on, logged);
  facts.print();
}

void show_journal(const control::JournalStatus& journal) {
  Facts facts;
  facts.add("group", journal.group);
  add_journal_facts(facts, journal);
  facts.print();
  if (journal.log_volumes.empty()) return;
  std::printf("\n");
  Table table({">LOG VOLUME", "RAID", ">CAPACITY", ">USED", ">FIRST", ">LAST", "STATE"});
  for (const control::LogVolumeInfo& volume : journal.log_volumes) {
    table.row({std::to_string(volume.lu_number), volume.raid, format_size(volume.capacity_bytes),
               format_size(volume.used_bytes), volume.first ? volume.first->to_string() : "",
               volume.last ? volume.last->to_string() : "", volume.leaving ? "leaving" : "open"});
  }
  table.print();
}

std::function<void(const control::Done&)> show_done(std::string done_word) {
  return [done_word = std::move(done_word)](const control::Done& done) {
    std::printf("%s\n", done.note.empty() ? done_word.c_str() : printable(done.note, 500).c_str());
  };
}

}  // namespace tidemark::cli
