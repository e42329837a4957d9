#include "catalog/catalog.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "base/names.h"
#include "catalog/database.h"
#include "catalog/schema.h"

namespace tidemark::catalog {
namespace {

// How one table is asked. Empty conditions: the table has no such question. A group, where given, is always
// the first parameter.
struct TableShape {
  TableName id;
  const char* name;
  const char* columns;  // in the order in which they are shown
  const char* order;
  const char* by_group;   // one parameter: the group
  const char* by_log_id;  // two parameters: epoch and sequence
  const char* by_mark_id;
  const char* newest_first;  // the order for the newest row at or before a time
  const char* by_time;       // one parameter: nanoseconds
};

constexpr TableShape kTables[] = {
    {TableName::kNode, "node", "identity, name, version, started", "identity", "", "", "", "", ""},
    {TableName::kVolume, "volume",
     "lu_number, kind, group_name, volume, volume_number, size_bytes, allocated_bytes, state", "lu_number",
     "group_name = ?", "", "", "", ""},
    {TableName::kDeviceAddress, "device_address",
     "export, offset_bytes, length_bytes, group_name, volume, lu_number, lu_address_bytes",
     "export, offset_bytes", "group_name = ?", "", "", "", ""},
    {TableName::kRaidAddress, "raid_address",
     "lu_number, lu_address_bytes, length_bytes, raid_group, raid_address_bytes, disk, disk_address_bytes",
     "lu_number, lu_address_bytes, disk",
     "lu_number IN (SELECT v.lu_number FROM volume v WHERE v.group_name = ?)", "", "", "", ""},
    {TableName::kPair, "pair",
     "group_name, volume, primary_node, primary_lu, secondary_node, secondary_lu, role, state, mode, "
     "peer_address",
     "group_name, volume", "group_name = ?", "", "", "", ""},
    {TableName::kLogVolumeGroup, "log_volume_group",
     "group_name, lu_number, capacity_bytes, used_bytes, first_log_id, last_log_id, state",
     "group_name, lu_number", "group_name = ?", "", "", "", ""},
    {TableName::kLogId, "log_id", "group_name, first_log_id, last_log_id, first_timer, last_timer",
     "group_name, epoch, first_sequence", "group_name = ?",
     "epoch = ?2 AND first_sequence <= ?3 AND last_sequence >= ?3", "",
     "first_timer_ns DESC, epoch DESC, first_sequence DESC", "first_timer_ns <= ?"},
    {TableName::kMarkId, "mark_id", "group_name, mark_id, log_id, timer, host_time, host, note, state",
     "group_name, epoch, sequence, mark_id", "group_name = ?", "epoch = ? AND sequence = ?", "mark_id = ?",
     "timer_ns DESC, epoch DESC, sequence DESC", "timer_ns <= ?"},
};

const TableShape* find_table(const std::string& name) {
  const auto* found = std::find_if(std::begin(kTables), std::end(kTables),
                                   [&name](const TableShape& shape) { return name == shape.name; });
  return found == std::end(kTables) ? nullptr : found;
}

const TableShape& table_of(TableName id) {
  const auto* found = std::find_if(std::begin(kTables), std::end(kTables),
                                   [id](const TableShape& shape) { return id == shape.id; });
  TM_ASSERT(found != std::end(kTables));
  return *found;
}

std::string log_id_text(LogId id) {
  return id.is_none() ? std::string() : id.to_string();
}

// Applies one list of changes inside a transaction. Each kind of statement is prepared once.
class Writer {
 public:
  explicit Writer(Database& database) : database_(database) {}

  // How many log_id rows were written, by group.
  const std::map<std::string, std::uint64_t>& log_id_rows() const { return log_id_rows_; }

  Result<void> operator()(const NodeRow& row) {
    return run("INSERT OR REPLACE INTO node (identity, name, version, started_ns) VALUES (?, ?, ?, ?)",
               row.identity.to_string(), row.name, row.version, row.started.ns);
  }
  Result<void> operator()(const DeviceAddressRow& row) {
    return run("INSERT OR REPLACE INTO device_address VALUES (?, ?, ?, ?, ?, ?, ?)", row.export_name,
               row.offset_bytes, row.length_bytes, row.group, row.volume, row.lu_number.value,
               row.lu_address_bytes);
  }
  Result<void> operator()(const RaidAddressRow& row) {
    return run("INSERT OR REPLACE INTO raid_address VALUES (?, ?, ?, ?, ?, ?, ?)", row.lu_number.value,
               row.lu_address_bytes, row.length_bytes, row.raid_group, row.raid_address_bytes, row.disk,
               row.disk_address_bytes);
  }
  Result<void> operator()(const VolumeRow& row) {
    return run("INSERT OR REPLACE INTO volume VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row.lu_number.value,
               row.kind == VolumeKind::kData ? "data" : "log", row.group, row.volume, row.volume_number.value,
               row.size_bytes, row.allocated_bytes, row.state);
  }
  Result<void> operator()(const PairRow& row) {
    return run("INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row.group, row.volume,
               row.primary_node, row.primary_lu.value, row.secondary_node, row.secondary_lu.value, row.role,
               row.state, row.mode, row.peer_address);
  }
  Result<void> operator()(const LogVolumeGroupRow& row) {
    return run("INSERT OR REPLACE INTO log_volume_group VALUES (?, ?, ?, ?, ?, ?, ?)", row.group,
               row.lu_number.value, row.capacity_bytes, row.used_bytes, log_id_text(row.first),
               log_id_text(row.last), row.state);
  }
  Result<void> operator()(const LogIdRow& row) {
    if (row.first.epoch() != row.last.epoch() || row.last < row.first) {
      return fail(ErrorCode::kInvalid, "a row of log_id cannot reach from " + row.first.to_string() + " to " +
                                           row.last.to_string());
    }
    ++log_id_rows_[row.group];
    return run(
        "INSERT OR REPLACE INTO log_id (group_name, epoch, first_sequence, last_sequence, first_timer_ns, "
        "last_timer_ns) VALUES (?, ?, ?, ?, ?, ?)",
        row.group, row.first.epoch().value, row.first.sequence(), row.last.sequence(), row.first_timer.ns,
        row.last_timer.ns);
  }
  Result<void> operator()(const MarkIdRow& row) {
    std::optional<std::int64_t> host_time_ns;
    if (row.host_time.has_value()) host_time_ns = row.host_time->ns;
    return run(
        "INSERT OR REPLACE INTO mark_id (group_name, mark_id, epoch, sequence, timer_ns, host_time_ns, host, "
        "note, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.group, row.mark_id, row.log_id.epoch().value, row.log_id.sequence(), row.timer.ns, host_time_ns,
        row.host, row.note, row.state);
  }
  Result<void> operator()(const ClearTable& change) {
    return database_.execute(std::string("DELETE FROM ") + table_of(change.table).name);
  }
  Result<void> operator()(const RemoveGroup& change) {
    for (const TableShape& shape : kTables) {
      if (shape.id == TableName::kNode || shape.id == TableName::kVolume) continue;
      TM_TRY(run(std::string("DELETE FROM ") + shape.name + " WHERE " + shape.by_group, change.group));
    }
    // Last: the rows of raid_address are found through it.
    return run("DELETE FROM volume WHERE group_name = ?", change.group);
  }
  Result<void> operator()(const RemoveUnit& change) {
    for (const char* table : {"raid_address", "device_address", "log_volume_group", "volume"}) {
      TM_TRY(run(std::string("DELETE FROM ") + table + " WHERE lu_number = ?", change.lu_number.value));
    }
    return Result<void>{};
  }
  Result<void> operator()(const RemoveRaidAddresses& change) {
    return run("DELETE FROM raid_address WHERE lu_number = ?", change.lu_number.value);
  }
  Result<void> operator()(const RemovePair& change) {
    return run("DELETE FROM pair WHERE group_name = ?", change.group);
  }
  Result<void> operator()(const RemoveMark& change) {
    return run("DELETE FROM mark_id WHERE group_name = ? AND mark_id = ?", change.group, change.mark_id);
  }
  Result<void> operator()(const TrimLogIds& change) {
    return run("DELETE FROM log_id WHERE group_name = ? AND epoch = ? AND last_sequence <= ?", change.group,
               change.through.epoch().value, change.through.sequence());
  }
  Result<void> operator()(const RemoveLogIds& change) {
    return run("DELETE FROM log_id WHERE group_name = ? AND epoch = ?", change.group, change.epoch.value);
  }

 private:
  template <typename... Values>
  Result<void> run(const std::string& sql, const Values&... values) {
    auto found = statements_.find(sql);
    if (found == statements_.end()) {
      TM_TRY_ASSIGN(Statement statement, database_.prepare(sql));
      found = statements_.emplace(sql, std::move(statement)).first;
    }
    (found->second.bind(values), ...);
    return found->second.run();
  }

  Database& database_;
  std::map<std::string, Statement> statements_;
  std::map<std::string, std::uint64_t> log_id_rows_;
};

// A SELECT with what it is bound to, put together condition by condition.
class Selection {
 public:
  explicit Selection(const TableShape& shape) : shape_(shape), order_(shape.order) {}

  Result<void> narrow(const Query& query) {
    if (!query.group.empty()) TM_TRY(add(shape_.by_group, "group", {query.group}));
    if (query.log_id.has_value()) {
      TM_TRY(needs_group(query, "log id"));
      TM_TRY(add(shape_.by_log_id, "log id",
                 {static_cast<std::int64_t>(query.log_id->epoch().value),
                  static_cast<std::int64_t>(query.log_id->sequence())}));
    }
    if (!query.mark_id.empty()) TM_TRY(add(shape_.by_mark_id, "mark id", {query.mark_id}));
    if (query.time.has_value()) {
      TM_TRY(needs_group(query, "time"));
      TM_TRY(add(shape_.by_time, "time", {query.time->ns}));
      order_ = shape_.newest_first;
      newest_only_ = true;
    }
    return Result<void>{};
  }

  bool newest_only() const { return newest_only_; }

  // The rows from `after` on, at most `rows_max`.
  Result<Statement> prepare(Database& database, std::uint64_t after, std::uint64_t rows_max) const {
    std::string sql = std::string("SELECT ") + shape_.columns + " FROM " + shape_.name;
    const char* separator = " WHERE ";
    for (const std::string& condition : conditions_) {
      sql += separator + condition;
      separator = " AND ";
    }
    sql += std::string(" ORDER BY ") + order_ + " LIMIT ? OFFSET ?";
    TM_TRY_ASSIGN(Statement statement, database.prepare(sql));
    for (const Parameter& parameter : parameters_) {
      if (const auto* number = std::get_if<std::int64_t>(&parameter)) {
        statement.bind(*number);
      } else {
        statement.bind(std::string_view(std::get<std::string>(parameter)));
      }
    }
    statement.bind(rows_max).bind(after);
    return statement;
  }

 private:
  using Parameter = std::variant<std::int64_t, std::string>;

  Result<void> add(const std::string& condition, const char* question, std::vector<Parameter> parameters) {
    if (condition.empty()) {
      return fail(ErrorCode::kInvalid,
                  std::string("the table ") + shape_.name + " cannot be asked by " + question);
    }
    conditions_.push_back(condition);
    parameters_.insert(parameters_.end(), parameters.begin(), parameters.end());
    return Result<void>{};
  }
  static Result<void> needs_group(const Query& query, const char* question) {
    if (!query.group.empty()) return Result<void>{};
    return fail(ErrorCode::kInvalid, std::string("a ") + question + " is of one group: name the group too");
  }

  const TableShape& shape_;
  std::string order_;
  std::vector<std::string> conditions_;
  std::vector<Parameter> parameters_;
  bool newest_only_ = false;
};

class SqliteCatalog final : public Catalog {
 public:
  explicit SqliteCatalog(Database database) : database_(std::move(database)) {}

  Result<void> apply(const Changes& changes) override {
    if (changes.empty()) return Result<void>{};
    TM_TRY_ASSIGN(Transaction transaction, Transaction::begin(database_));
    {
      Writer writer(database_);
      for (const Change& change : changes) TM_TRY(std::visit(writer, change));
      for (const auto& [group, rows] : writer.log_id_rows()) TM_TRY(bound_log_ids(group, rows));
    }
    return transaction.commit();
  }

  Result<std::vector<TableCheck>> check(const Changes& rows, const std::vector<TableName>& tables,
                                        WallTime log_ids_since) override {
    TM_TRY_ASSIGN(const std::string verdict, database_.query_text("PRAGMA integrity_check(1)"));
    if (verdict != "ok") {
      return fail(ErrorCode::kDamaged, "the catalogue's file is damaged (" + printable(verdict, 300) +
                                           "); delete it while the node is stopped, and it is made again");
    }
    TM_TRY_ASSIGN(Database fresh, Database::open(":memory:"));
    TM_TRY(migrate(fresh, kApplicationId, schema_versions()));
    SqliteCatalog expected(std::move(fresh));
    TM_TRY(expected.apply(rows));
    std::vector<TableCheck> checks;
    for (const TableName table : tables) {
      TM_TRY_ASSIGN(TableCheck check, compare(table_of(table), expected, log_ids_since));
      checks.push_back(std::move(check));
    }
    return checks;
  }

  Result<Table> query(const Query& query) override {
    const TableShape* shape = find_table(query.table);
    if (shape == nullptr) {
      std::string names;
      for (const std::string& name : table_names()) names += (names.empty() ? "" : ", ") + name;
      return fail(ErrorCode::kNotFound,
                  "there is no table '" + printable(query.table) + "'; there are: " + names);
    }
    if (query.limit == 0 || query.limit > kQueryRowsMax) {
      return fail(ErrorCode::kInvalid, "a limit of " + std::to_string(query.limit) +
                                           " rows is not between 1 and " + std::to_string(kQueryRowsMax));
    }
    Selection selection(*shape);
    TM_TRY(selection.narrow(query));
    const std::uint64_t rows_max = selection.newest_only() ? 1 : query.limit;
    // One row more than asked for tells whether there is a next page.
    TM_TRY_ASSIGN(Statement statement, selection.prepare(database_, query.after, rows_max + 1));
    return collect(statement, *shape, query.after, rows_max, selection.newest_only());
  }

 private:
  // All rows of a table as texts, sorted.
  Result<std::vector<std::string>> texts_of(const TableShape& shape, WallTime log_ids_since) {
    const bool has_times = shape.id == TableName::kLogId;
    TM_TRY_ASSIGN(Statement statement,
                  database_.prepare(std::string("SELECT ") + shape.columns + " FROM " + shape.name +
                                    (has_times ? " WHERE first_timer_ns >= ?" : "")));
    if (has_times) statement.bind(log_ids_since.ns);
    std::vector<std::string> texts;
    for (;;) {
      TM_TRY_ASSIGN(const bool row, statement.step());
      if (!row) break;
      std::string text;
      for (int column = 0; column < statement.column_count(); ++column) {
        if (column > 0) text += " | ";
        text += statement.column_is_null(column) ? "-" : statement.column_text(column);
      }
      texts.push_back(std::move(text));
    }
    std::sort(texts.begin(), texts.end());
    return texts;
  }

  Result<TableCheck> compare(const TableShape& shape, SqliteCatalog& expected, WallTime log_ids_since) {
    TM_TRY_ASSIGN(const std::vector<std::string> wanted, expected.texts_of(shape, log_ids_since));
    TM_TRY_ASSIGN(const std::vector<std::string> found, texts_of(shape, log_ids_since));
    std::vector<std::string> missing;
    std::vector<std::string> foreign;
    std::set_difference(wanted.begin(), wanted.end(), found.begin(), found.end(),
                        std::back_inserter(missing));
    std::set_difference(found.begin(), found.end(), wanted.begin(), wanted.end(),
                        std::back_inserter(foreign));
    TableCheck check;
    check.name = shape.name;
    check.rows = wanted.size();
    check.missing = missing.size();
    check.foreign = foreign.size();
    for (const auto& [what, rows] : {std::pair("missing: ", &missing), std::pair("foreign: ", &foreign)}) {
      for (const std::string& row : *rows) {
        if (check.examples.size() == kCheckExamplesMax) break;
        check.examples.push_back(what + printable(row, 300));
      }
    }
    return check;
  }

  static Result<Table> collect(Statement& statement, const TableShape& shape, std::uint64_t after,
                               std::uint64_t rows_max, bool newest_only) {
    Table table;
    table.name = shape.name;
    for (int column = 0; column < statement.column_count(); ++column) {
      table.columns.push_back(statement.column_name(column));
    }
    for (;;) {
      TM_TRY_ASSIGN(const bool row, statement.step());
      if (!row) return table;
      if (table.rows.size() == rows_max) {
        if (!newest_only) table.next = after + rows_max;
        return table;
      }
      std::vector<Cell> cells;
      for (int column = 0; column < statement.column_count(); ++column) {
        if (statement.column_is_null(column)) {
          cells.emplace_back(std::monostate{});
        } else if (statement.column_is_integer(column)) {
          cells.emplace_back(statement.column_integer(column));
        } else {
          cells.emplace_back(statement.column_text(column));
        }
      }
      table.rows.push_back(std::move(cells));
    }
  }

  // Lets the oldest rows of the group go once it has more than kLogIdRowsMax. Counting takes a walk over
  // them, so it is done when the group is first seen and then only when enough were added since.
  Result<void> bound_log_ids(const std::string& group, std::uint64_t rows_added) {
    const auto known = log_id_rows_at_most_.find(group);
    if (known != log_id_rows_at_most_.end()) {
      known->second += rows_added;
      if (known->second <= kLogIdRowsMax) return Result<void>{};
    }
    TM_TRY_ASSIGN(Statement count, database_.prepare("SELECT count(*) FROM log_id WHERE group_name = ?"));
    count.bind(std::string_view(group));
    TM_TRY_ASSIGN(const bool row, count.step());
    TM_ASSERT(row);
    const auto rows = static_cast<std::uint64_t>(count.column_integer(0));
    log_id_rows_at_most_[group] = rows;
    if (rows <= kLogIdRowsMax) return Result<void>{};
    TM_TRY_ASSIGN(Statement trim,
                  database_.prepare("DELETE FROM log_id WHERE group_name = ?1 AND first_timer_ns < (SELECT "
                                    "first_timer_ns FROM log_id WHERE group_name = ?1 ORDER BY "
                                    "first_timer_ns LIMIT 1 OFFSET ?2)"));
    // An eighth more than needed, so that this is rare.
    trim.bind(std::string_view(group)).bind(rows - kLogIdRowsMax + kLogIdRowsMax / 8);
    TM_TRY(trim.run());
    log_id_rows_at_most_.erase(group);
    return Result<void>{};
  }

  std::map<std::string, std::uint64_t> log_id_rows_at_most_;
  Database database_;
};

// How these tables and indexes were made, as one text. `names`: quoted, with commas between.
std::string schema_question(const std::string& names) {
  return "SELECT group_concat(type || ' ' || name || ' ' || tbl_name || ' ' || ifnull(sql, ''), ';') FROM "
         "(SELECT * FROM sqlite_schema WHERE name IN (" +
         names + ") ORDER BY type, name)";
}

}  // namespace

const std::vector<std::string>& Catalog::table_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const TableShape& shape : kTables) list.emplace_back(shape.name);
    return list;
  }();
  return names;
}

Result<std::unique_ptr<Catalog>> Catalog::open(const std::string& path) {
  TM_TRY_ASSIGN(Database database, Database::open(path));
  // The version first: another program's file, or a newer version's, is not touched.
  TM_TRY(migrate(database, kApplicationId, schema_versions()));
  TM_TRY_ASSIGN(const std::string verdict, database.query_text("PRAGMA quick_check(1)"));
  if (verdict != "ok") {
    return fail(ErrorCode::kDamaged, "the catalogue " + printable(path, 200) + " is damaged (" +
                                         printable(verdict) + "); it can be built again");
  }
  // SQLite's check looks at pages and rows, not at the names in the text by which the tables were made.
  TM_TRY_ASSIGN(Database fresh, Database::open(":memory:"));
  TM_TRY(migrate(fresh, kApplicationId, schema_versions()));
  // Ours alone: what else somebody keeps in the file, an index on one of our tables too, is left alone.
  TM_TRY_ASSIGN(const std::string names,
                fresh.query_text("SELECT group_concat(quote(name), ', ') FROM sqlite_schema"));
  TM_TRY_ASSIGN(const std::string expected, fresh.query_text(schema_question(names)));
  TM_TRY_ASSIGN(const std::string found, database.query_text(schema_question(names)));
  if (found != expected) {
    return fail(ErrorCode::kDamaged, "the catalogue " + printable(path, 200) +
                                         " is damaged (its tables are not what they should be); it can be "
                                         "built again");
  }
  // One byte of the file says that nobody may write to it.
  if (database.read_only()) {
    return fail(ErrorCode::kDamaged,
                "the catalogue " + printable(path, 200) + " cannot be written to; it can be built again");
  }
  // Readers do not stop the node, nor it them; and a commit does not wait for the disk.
  TM_TRY_ASSIGN(const std::string mode, database.query_text("PRAGMA journal_mode = WAL"));
  if (mode != "wal" && mode != "memory") {
    return fail(ErrorCode::kIo, "the catalogue " + printable(path, 200) +
                                    " cannot use a write-ahead log: its file system lacks shared memory");
  }
  TM_TRY(database.execute("PRAGMA synchronous = NORMAL"));
  return std::unique_ptr<Catalog>(std::make_unique<SqliteCatalog>(std::move(database)));
}

Result<std::unique_ptr<Catalog>> Catalog::recreate(const std::string& path) {
  TM_TRY(remove_database(path));
  return open(path);
}

}  // namespace tidemark::catalog
