// Which ranks share a node, and which rank keeps the copies of which other one.
#pragma once

#include <vector>

namespace kangpt::sharding {
class MpiGroup;
}

namespace kangpt::launcher {

// The number of each rank's node, in the order of their first ranks. A node is what is lost as a whole: the processes
// that have the same memory folder.
using Nodes = std::vector<int>;

// Collective.
Nodes find_nodes(sharding::MpiGroup& group);

int count_nodes(const Nodes& nodes);
bool is_first_of_node(const Nodes& nodes, int rank);

// A rank of the next node, such that the ranks of a node share those of the next one evenly; -1: there is only one
// node.
int copy_holder(const Nodes& nodes, int rank);
// The ranks whose copies `rank` keeps.
std::vector<int> copy_sources(const Nodes& nodes, int rank);

}  // namespace kangpt::launcher
