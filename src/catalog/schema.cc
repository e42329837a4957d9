#include "catalog/schema.h"

#include <array>

namespace tidemark::catalog {
namespace {

// Times are kept as nanoseconds since 1970 and shown a second time as RFC 3339 text, and log ids as two
// numbers and shown as "epoch.sequence", by columns that SQLite computes: so that rows sort right and a
// person with sqlite3 reads them.
// The text is that of format_time(), whose fractions end without zeros.
#define TM_TIME_TEXT(ns)                                                       \
  "(strftime('%Y-%m-%dT%H:%M:%S', " ns                                         \
  " / 1000000000, 'unixepoch')"                                                \
  " || CASE " ns " % 1000000000 WHEN 0 THEN '' ELSE rtrim(printf('.%09d', " ns \
  " % 1000000000), '0') "                                                      \
  "END || 'Z')"

constexpr const char* kVersion1 = R"sql(
CREATE TABLE node (
  identity TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  started_ns INTEGER NOT NULL,
  started TEXT GENERATED ALWAYS AS )sql" TM_TIME_TEXT("started_ns") R"sql(
) STRICT, WITHOUT ROWID;

CREATE TABLE device_address (
  export TEXT NOT NULL,
  offset_bytes INTEGER NOT NULL,
  length_bytes INTEGER NOT NULL,
  group_name TEXT NOT NULL,
  volume TEXT NOT NULL,
  lu_number INTEGER NOT NULL,
  lu_address_bytes INTEGER NOT NULL,
  PRIMARY KEY (export, offset_bytes)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_address_by_lu ON device_address (lu_number, lu_address_bytes);

CREATE TABLE raid_address (
  lu_number INTEGER NOT NULL,
  lu_address_bytes INTEGER NOT NULL,
  length_bytes INTEGER NOT NULL,
  raid_group TEXT NOT NULL,
  raid_address_bytes INTEGER NOT NULL,
  disk TEXT NOT NULL,
  disk_address_bytes INTEGER NOT NULL,
  PRIMARY KEY (lu_number, lu_address_bytes, disk)
) STRICT, WITHOUT ROWID;

CREATE TABLE volume (
  lu_number INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('data', 'log')),
  group_name TEXT NOT NULL,
  volume TEXT NOT NULL,
  volume_number INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  allocated_bytes INTEGER NOT NULL,
  state TEXT NOT NULL
) STRICT;
CREATE INDEX volume_by_group ON volume (group_name);

CREATE TABLE pair (
  group_name TEXT NOT NULL,
  volume TEXT NOT NULL,
  primary_node TEXT NOT NULL,
  primary_lu INTEGER NOT NULL,
  secondary_node TEXT NOT NULL,
  secondary_lu INTEGER NOT NULL,
  role TEXT NOT NULL,
  state TEXT NOT NULL,
  mode TEXT NOT NULL,
  peer_address TEXT NOT NULL,
  PRIMARY KEY (group_name, volume)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_volume_group (
  group_name TEXT NOT NULL,
  lu_number INTEGER NOT NULL,
  capacity_bytes INTEGER NOT NULL,
  used_bytes INTEGER NOT NULL,
  first_log_id TEXT NOT NULL,
  last_log_id TEXT NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (group_name, lu_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_id (
  group_name TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  first_sequence INTEGER NOT NULL,
  last_sequence INTEGER NOT NULL,
  first_timer_ns INTEGER NOT NULL,
  last_timer_ns INTEGER NOT NULL,
  first_log_id TEXT GENERATED ALWAYS AS (epoch || '.' || first_sequence),
  last_log_id TEXT GENERATED ALWAYS AS (epoch || '.' || last_sequence),
  first_timer TEXT GENERATED ALWAYS AS )sql" TM_TIME_TEXT("first_timer_ns") R"sql(,
  last_timer TEXT GENERATED ALWAYS AS )sql" TM_TIME_TEXT("last_timer_ns") R"sql(,
  PRIMARY KEY (group_name, epoch, first_sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX log_id_by_time ON log_id (group_name, first_timer_ns);

CREATE TABLE mark_id (
  group_name TEXT NOT NULL,
  mark_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  log_id TEXT GENERATED ALWAYS AS (epoch || '.' || sequence),
  timer_ns INTEGER NOT NULL,
  timer TEXT GENERATED ALWAYS AS )sql" TM_TIME_TEXT("timer_ns") R"sql(,
  host_time_ns INTEGER,
  host_time TEXT GENERATED ALWAYS AS )sql" TM_TIME_TEXT("host_time_ns") R"sql(,
  host TEXT NOT NULL,
  note TEXT NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (group_name, mark_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX mark_id_by_log_id ON mark_id (group_name, epoch, sequence);
CREATE INDEX mark_id_by_time ON mark_id (group_name, timer_ns);
)sql";

constexpr std::array<const char*, 1> kVersions = {kVersion1};

}  // namespace

std::span<const char* const> schema_versions() {
  return kVersions;
}

}  // namespace tidemark::catalog
