#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace tidemark::catalog {

class Statement;

// One SQLite connection. Owned by whoever opened it; closed when destroyed. One call at a time, from any
// thread. Errors: kDamaged when SQLite finds the file malformed, kBusy when another program held a lock on it
// for longer than kBusyWaitMsMax, kNoSpace, kReadOnly, and kIo for the rest; the message names the file.
class Database {
 public:
  // How long a statement waits for another program (a person's sqlite3) to let go of the file.
  static constexpr int kBusyWaitMsMax = 5'000;

  // Opens or creates. ":memory:" is a database of its own that ends with the object. `what` begins messages.
  static Result<Database> open(const std::string& path, const char* what = "the catalogue");
  Database(Database&& other) noexcept;
  Database& operator=(Database&& other) noexcept;
  ~Database();

  const std::string& path() const { return path_; }
  // By its permissions, or by what its header says once something was read of it. SQLite makes "BEGIN
  // IMMEDIATE" of such a file a transaction that reads, so that only a write would be refused.
  bool read_only() const;
  // Runs statements that return nothing of interest, separated by semicolons.
  Result<void> execute(const std::string& sql);
  // The first column of the first row.
  Result<std::int64_t> query_integer(const std::string& sql);
  Result<std::string> query_text(const std::string& sql);
  // One statement, to be bound and stepped. Must not outlive the Database.
  Result<Statement> prepare(std::string_view sql);
  // What SQLite has just complained about, as an Error. `result_code` is SQLite's.
  Error error(int result_code, std::string_view doing) const;

 private:
  Database(sqlite3* handle, std::string path, const char* what)
      : handle_(handle), path_(std::move(path)), what_(what) {}
  sqlite3* handle_ = nullptr;
  std::string path_;
  const char* what_;
};

// A prepared statement. Parameters are bound in order, then step() is called until it gives false; reset()
// makes it ready for the next round. One that failed need not be reset before it is destroyed.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) noexcept;
  ~Statement();

  Statement& bind(std::int64_t value);
  // Sizes, addresses and sequences: all below 2^63 by construction.
  Statement& bind(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(std::uint32_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind(std::string_view value);
  Statement& bind(std::optional<std::int64_t> value);
  // True when there is a row to read.
  Result<bool> step();
  // For statements without rows: one step, then ready for the next round.
  Result<void> run();
  void reset();

  int column_count() const;
  std::string column_name(int column) const;
  bool column_is_null(int column) const;
  bool column_is_integer(int column) const;
  std::int64_t column_integer(int column) const;
  std::string column_text(int column) const;

 private:
  friend class Database;
  Statement(const Database* database, sqlite3_stmt* handle) : database_(database), handle_(handle) {}
  const Database* database_ = nullptr;
  sqlite3_stmt* handle_ = nullptr;
  int bound_ = 0;
  int bind_error_ = 0;
};

// Everything between begin and commit() happens, or, when it is destroyed first, nothing.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

// Removes a database file with its companions (-wal, -shm, -journal). What is not there is no error.
Result<void> remove_database(const std::string& path);

// Brings the schema up to the newest version: versions[0] makes version 1 from nothing, versions[1] makes
// version 2 from it, and so on; each in one transaction, the version kept in `PRAGMA user_version`. The file
// is told from other programs' by its application id. kUnsupported when the file is of a newer version,
// kRefused when it is somebody else's database.
Result<void> migrate(Database& database, std::int32_t application_id, std::span<const char* const> versions);

}  // namespace tidemark::catalog
