#pragma once

#include <string>

#include "base/result.h"
#include "base/time.h"

// What the host says of itself.
namespace tidemark::host {

WallTime wall_now();
MonotonicTime monotonic_now();
std::string host_name();

// "m-20260501-120000-abc1": the host's time, and a random end that keeps two marks of one second apart.
std::string generate_mark_id(WallTime time);
// `count` random letters and digits.
std::string random_letters(std::size_t count);
// "20260501-120000".
std::string time_stamp(WallTime time);

// Where the host's own table of marks lies when nobody says otherwise: $TIDEMARK_HOST_TABLE, else
// /var/lib/tidemark-host/marks.db for root, $XDG_STATE_HOME/tidemark/marks.db or
// ~/.local/state/tidemark/marks.db for others. kInvalid: there is neither a home nor one of these variables.
Result<std::string> find_table_path();

// "PATH: No such file or directory"; the code is kNotFound, kDenied, kNoSpace or kIo, by errno.
Error system_error(const std::string& what);

// Absolute and without symbolic links. kNotFound.
Result<std::string> real_path(const std::string& path);
// The same of a file that need not be there, in a folder that is.
Result<std::string> real_place(const std::string& path);
// Makes the folder and those above it, readable by its owner only.
Result<void> make_folders(const std::string& folder);

}  // namespace tidemark::host
