#pragma once

#include "raid/raid_group.h"

namespace tidemark::raid {

// The labels and states of disks, before there is a group of them.

// kExists naming the disk unless both places of a label are blank; kInvalid when it is smaller than
// `least_bytes`.
io::Task<Result<void>> check_blank(NamedDisk disk, std::uint64_t least_bytes);
// Both copies, one after the other, durably.
io::Task<Result<void>> save_label(NamedDisk disk, format::RaidLabel label);
// Makes what lies between the labels and the end of the data read as zeroes. Durable.
io::Task<Result<void>> wipe(NamedDisk disk, format::RaidShape shape, bool data_too);
// The newer whole copy. kNotFound when none is whole.
io::Task<Result<format::RaidState>> load_state(NamedDisk disk, RaidIdentity raid);

}  // namespace tidemark::raid
