#pragma once

#include "raid/raid_group.h"

namespace tidemark::raid {

// The labels and states of disks, before there is a group of them.

// kExists naming the disk unless its first MiB holds zeroes, or what a creation leaves that was cut off
// before its labels; kInvalid when it is smaller than `least_bytes`.
io::Task<Result<void>> check_blank(NamedDisk disk, std::uint64_t least_bytes);
// Both copies, one after the other, durably.
io::Task<Result<void>> save_label(NamedDisk disk, format::RaidLabel label);
// Makes what lies between the labels and the end of the data read as zeroes, and has the space of all that
// lies before the data promised. Durable.
io::Task<Result<void>> wipe(NamedDisk disk, format::RaidShape shape, bool data_too);
// The newer whole copy, that can be of the label's group. kNotFound when none is.
io::Task<Result<format::RaidState>> load_state(NamedDisk disk, format::RaidLabel label);
// Where copy 1 alone does not read, it is written again from copy 0, which the next change overwrites first.
// Durable.
io::Task<Result<void>> mend_state(NamedDisk disk, format::RaidLabel label);

}  // namespace tidemark::raid
