// Operations of the control API that read log entries in bulk.

#include <algorithm>
#include <cstdio>

#include "base/log_field.h"
#include "node/node.h"

namespace tidemark::node {
namespace {

// Nothing asked of an export for so long: its client has gone, and its points need not be kept for it.
constexpr Duration kLease = Duration::seconds(60);
constexpr std::size_t kJournalExportsMax = 16;  // of a node, each with one page of some megabytes at a time

std::string new_export_id(io::Random& random) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(random.next()));
  return text;
}

control::ExportedPiece to_api(const group::ExportPiece& piece) {
  return {.side = piece.before ? control::DataSide::kBefore : control::DataSide::kAfter,
          .offset_bytes = piece.blocks.begin * kBlockSizeBytes,
          .length_bytes = piece.blocks.count() * kBlockSizeBytes};
}

}  // namespace

control::JournalExportInfo Node::export_info(const group::Group& group,
                                             const group::JournalExport& entries) const {
  control::JournalExportInfo info;
  info.group = group.name();
  info.identity = group.identity().to_string();
  info.node = configuration_.name;
  info.from = {.log_id = entries.from().at, .timer = entries.from().timer};
  info.to = {.log_id = entries.to().at, .timer = entries.to().timer};
  info.entries = entries.entries_up_to(entries.to().at);
  info.lease_seconds = static_cast<std::uint32_t>(kLease.to_seconds());
  std::map<VolumeId, control::ExportedVolume> volumes;
  for (const group::VolumeShape& shape : group.state().shape_at(entries.from().at)) {
    control::ExportedVolume& volume = volumes[shape.id];
    volume.volume = shape.name;
    volume.size_bytes_from = shape.size_bytes;
  }
  for (const group::VolumeShape& shape : group.state().shape_at(entries.to().at)) {
    control::ExportedVolume& volume = volumes[shape.id];
    volume.volume = shape.name;
    volume.size_bytes_to = shape.size_bytes;
  }
  for (auto& [id, volume] : volumes) {
    if (entries.only().has_value() && *entries.only() != id) continue;
    volume.number = id.value;
    info.volumes.push_back(volume);
  }
  return info;
}

control::JournalExportPage Node::export_page(const group::Group& group, const group::JournalExport& entries,
                                             const group::ExportPage& page) const {
  control::JournalExportPage reply;
  std::size_t bytes = 0;
  for (const group::ExportItem& item : page.items) {
    for (const group::ExportPiece& piece : item.pieces) bytes += piece.bytes.size();
  }
  reply.data.bytes.reserve(bytes);
  for (const group::ExportItem& item : page.items) {
    group::ShownEntry shown;
    shown.id = item.id;
    shown.entry = item.entry;
    control::ExportedEntry& exported = reply.entries.emplace_back();
    exported.entry = entry_info(group, shown);
    exported.continued = item.continued;
    for (const group::ExportPiece& piece : item.pieces) {
      exported.pieces.push_back(to_api(piece));
      reply.data.bytes.append(reinterpret_cast<const char*>(piece.bytes.data()), piece.bytes.size());
    }
  }
  reply.entries_done = entries.entries_up_to(page.next_after);
  if (!page.done) {
    reply.next_after = page.next_after;
    reply.next_within = page.next_within_blocks * kBlockSizeBytes;
  }
  return reply;
}

Result<std::shared_ptr<Node::JournalExport>> Node::require_journal_export(const std::string& group,
                                                                          const std::string& id) const {
  const auto at = journal_exports_.find(id);
  if (at != journal_exports_.end() && at->second->group->name() == group) return at->second;
  return fail(ErrorCode::kNotFound,
              "there is no export " + printable(id, kNameLengthMax) + " of the journal of group '" + group +
                  "'; one of which nothing is asked for " + format_duration(kLease) +
                  " ends, and so does every one when the node or its group stops: begin it anew");
}

// While there are exports.
io::Task<void> Node::end_idle_journal_exports() {
  while (!stopping_ && !journal_exports_.empty()) {
    const MonotonicTime now = environment_.scheduler.now();
    MonotonicTime due = now + kLease;
    std::erase_if(journal_exports_, [&](const auto& known) {
      const JournalExport& entry = *known.second;
      if (entry.page_under_way) return false;
      if (now < entry.asked_for + kLease) {
        due = std::min(due, entry.asked_for + kLease);
        return false;
      }
      log_("journal-export-idle",
           log_field("group", entry.group->name()) + " " + log_field("id", known.first));
      return true;
    });
    (void)co_await stop_wanted_.wait_until(due);
  }
  journal_exports_watched_ = false;
}

Result<void> Node::check_journal_exports() const {
  if (journal_exports_.size() < kJournalExportsMax) return {};
  return fail(ErrorCode::kBusy, "the journals of this node are being exported " +
                                    std::to_string(kJournalExportsMax) +
                                    " times already; try again when one has ended");
}

io::Task<Result<control::JournalExportInfo>> Node::journal_export_begin(
    control::JournalExportBeginRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  TM_CO_TRY(check_journal_exports());
  group::ExportSides sides;
  sides.before = request.data != control::ExportedData::kAfter;
  sides.after = request.data != control::ExportedData::kBefore;
  auto begun = co_await group->begin_export(request.from, request.to, request.volume, sides);
  if (!begun.ok()) co_return std::move(begun).error();
  if (hold_group(request.group) != group || stopping_) {
    co_return fail(ErrorCode::kNotFound, "group '" + request.group + "' is gone");
  }
  TM_CO_TRY(check_journal_exports());
  auto entry = std::make_shared<JournalExport>();
  entry->group = group;
  entry->entries = std::move(begun).value();
  entry->asked_for = environment_.scheduler.now();
  control::JournalExportInfo info = export_info(*group, *entry->entries);
  info.id = new_export_id(environment_.random);
  info.data = request.data;
  info.volume = request.volume;
  journal_exports_[info.id] = std::move(entry);
  if (!std::exchange(journal_exports_watched_, true)) tasks_.spawn(end_idle_journal_exports());
  co_return info;
}

io::Task<Result<control::JournalExportPage>> Node::journal_export_read(
    control::JournalExportReadRequest request) {
  TM_CO_TRY_ASSIGN(const std::shared_ptr<JournalExport> entry,
                   require_journal_export(request.group, request.id));
  const LogId after = request.after.value_or(entry->entries->from().at);
  // A page under way keeps the export; one that is given up half way does so too.
  struct UnderWay {
    JournalExport& of;
    explicit UnderWay(JournalExport& of_export) : of(of_export) { of.page_under_way = true; }
    ~UnderWay() { of.page_under_way = false; }
  };
  if (entry->page_under_way) {
    co_return fail(ErrorCode::kBusy, "a page of this export is being read; ask for the next one after it");
  }
  const UnderWay under_way(*entry);
  auto page = co_await entry->entries->read(after, request.within_bytes / kBlockSizeBytes,
                                            request.length_bytes, control::kPageLimitMax);
  entry->asked_for = environment_.scheduler.now();
  if (!page.ok()) co_return std::move(page).error();
  co_return export_page(*entry->group, *entry->entries, *page);
}

io::Task<Result<control::Done>> Node::journal_export_end(control::JournalExportEndRequest request) {
  TM_CO_TRY(require_journal_export(request.group, request.id));
  journal_exports_.erase(request.id);
  co_return control::Done();
}

}  // namespace tidemark::node
