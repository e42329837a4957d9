#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "control/host_types.h"
#include "control/http_client.h"
#include "host/mark_table.h"

namespace tidemark::host {

// Compares the host's table with the marks of each node, those of `group`, or of all groups in the table
// when it is empty. A node that does not answer is told of in the outcome, and the others are compared. A
// row without an answer whose mark a node has is settled in the table. `table` null: there is none, and what
// the nodes have of this host is only there.
//
// Fails only for the table.
Result<control::Reconciliation> reconcile(MarkTable* table, const std::string& group,
                                          std::vector<control::ApiClient>& nodes,
                                          std::chrono::seconds time_limit);

}  // namespace tidemark::host
