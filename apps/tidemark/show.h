#pragma once

#include <functional>
#include <string>
#include <vector>

#include "control/types.h"

// How answers look to a person, where more than one command shows them.
namespace tidemark::cli {

void show_group(const control::GroupInfo& group);
void show_group_table(const std::vector<control::GroupInfo>& groups);
void show_volume(const control::VolumeInfo& volume);
void show_volume_table(const std::vector<control::VolumeInfo>& volumes, const std::string& indent = "");
void show_pair(const control::PairStatus& pair);
void show_takeover(const control::PairTakeoverReply& taken);
// "PAIR primary of tcp:host:7000, link up, 12 entries (48 KiB, 0.2 s) behind"
std::string pair_line(const control::PairStatus& pair);
void show_mark(const control::MarkInfo& mark);
void show_journal(const control::JournalStatus& journal);

// Prints the answer's note, or `word` when it has none.
std::function<void(const control::Done&)> show_done(std::string word);

}  // namespace tidemark::cli
