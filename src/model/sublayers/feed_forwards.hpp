// Chooses the feed-forward part of a layer.
#pragma once

#include <memory>
#include <string>

#include "config/run_config.hpp"
#include "model/sublayers/sublayer.hpp"
#include "operations/activations.hpp"

namespace kangpt::model {

// Makes the feed-forward parts of a network. Borrows everything it is made from; the parts borrow operations, scratch
// memory and activations.
class FeedForwardFactory {
 public:
  FeedForwardFactory(const config::ModelConfig& config, const ParameterViews& views, SublayerTools tools,
                     operations::Activations& activations);

  // Throws InternalError where the views lack a parameter of that layer.
  std::unique_ptr<Sublayer> make(int layer) const;

 private:
  std::unique_ptr<Sublayer> make_grouped(const std::string& prefix) const;
  std::unique_ptr<Sublayer> make_rational(const std::string& prefix) const;

  const config::ModelConfig& config_;
  const ParameterViews& views_;
  SublayerTools tools_;
  operations::Activations& activations_;
};

}  // namespace kangpt::model
