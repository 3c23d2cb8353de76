#include "launcher/job/nodes.hpp"

#include <algorithm>
#include <string>

#include "sharding/memory_file.hpp"
#include "sharding/mpi/mpi_group.hpp"

namespace kangpt::launcher {
namespace {

std::vector<int> ranks_of(const Nodes& nodes, int node) {
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < nodes.size(); ++rank) {
    if (nodes[rank] == node) ranks.push_back(static_cast<int>(rank));
  }
  return ranks;
}

int node_of(const Nodes& nodes, int rank) {
  return nodes[static_cast<std::size_t>(rank)];
}

}  // namespace

Nodes find_nodes(sharding::MpiGroup& group) {
  std::vector<std::string> found;  // of each node
  Nodes nodes;
  for (const std::string& identity : group.all_gather(sharding::memory_folder_identity())) {
    const auto known = std::ranges::find(found, identity);
    nodes.push_back(static_cast<int>(known - found.begin()));
    if (known == found.end()) found.push_back(identity);
  }
  return nodes;
}

int count_nodes(const Nodes& nodes) {
  return nodes.empty() ? 1 : std::ranges::max(nodes) + 1;
}

bool is_first_of_node(const Nodes& nodes, int rank) {
  return ranks_of(nodes, node_of(nodes, rank)).front() == rank;
}

int copy_holder(const Nodes& nodes, int rank) {
  const int count = count_nodes(nodes);
  if (count == 1) return -1;
  const std::vector<int> own = ranks_of(nodes, node_of(nodes, rank));
  const std::vector<int> next = ranks_of(nodes, (node_of(nodes, rank) + 1) % count);
  const auto place = static_cast<std::size_t>(std::ranges::find(own, rank) - own.begin());
  return next[place % next.size()];
}

std::vector<int> copy_sources(const Nodes& nodes, int rank) {
  std::vector<int> sources;
  for (int other = 0; other < static_cast<int>(nodes.size()); ++other) {
    if (copy_holder(nodes, other) == rank) sources.push_back(other);
  }
  return sources;
}

}  // namespace kangpt::launcher
