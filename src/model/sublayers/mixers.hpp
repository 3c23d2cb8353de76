// Chooses the mixer of a layer.
#pragma once

#include <memory>

#include "config/run_config.hpp"
#include "model/sublayers/sublayer.hpp"
#include "operations/convolutions.hpp"

namespace kangpt::model {

// Makes the mixers of a network. Borrows everything it is made from; the mixers borrow operations, scratch memory and
// convolutions.
class MixerFactory {
 public:
  MixerFactory(const config::ModelConfig& config, const ParameterViews& views, SublayerTools tools,
               Convolutions& convolutions);

  // Throws InternalError where the views lack a parameter of that layer.
  std::unique_ptr<Sublayer> make(int layer) const;

 private:
  std::unique_ptr<Sublayer> make_attention(const std::string& prefix) const;
  std::unique_ptr<Sublayer> make_modulation(const std::string& prefix) const;
  std::unique_ptr<Sublayer> make_separable(const std::string& prefix) const;
  std::unique_ptr<Sublayer> make_deformable(const std::string& prefix, int layer) const;

  const config::ModelConfig& config_;
  const ParameterViews& views_;
  SublayerTools tools_;
  Convolutions& convolutions_;
};

}  // namespace kangpt::model
