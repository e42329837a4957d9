#pragma once

#include <cstdint>
#include <span>

namespace tidemark::catalog {

// "TDMK", in the file's header: this database is a Tidemark catalogue.
inline constexpr std::int32_t kApplicationId = 0x54444d4b;

// What brings the schema from each version to the next; see migrate(). Entries are only ever added.
// docs/tables.md is the page of the newest version.
std::span<const char* const> schema_versions();

}  // namespace tidemark::catalog
