#include "model/sublayers/feed_forwards.hpp"

#include "base/error.hpp"
#include "config/layers.hpp"
#include "model/sublayers/group_kan.hpp"
#include "model/sublayers/kan.hpp"
#include "model/sublayers/mlp.hpp"
#include "model/sublayers/swiglu.hpp"

namespace kangpt::model {

FeedForwardFactory::FeedForwardFactory(const config::ModelConfig& config, const ParameterViews& views,
                                       SublayerTools tools, operations::Activations& activations)
    : config_(config), views_(views), tools_(tools), activations_(activations) {}

std::unique_ptr<Sublayer> FeedForwardFactory::make(int layer) const {
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  switch (config::layer_feed_forward(config_, layer)) {
    case config::FeedForward::kKan:
      return std::make_unique<ChebyKan>(views_.parameter(prefix + "kan.coefficients"), tools_);
    case config::FeedForward::kMlp:
      return std::make_unique<Mlp>(views_.layer(prefix + "mlp.up"), views_.layer(prefix + "mlp.down"), tools_);
    case config::FeedForward::kSwiglu: {
      const Swiglu::Parameters parameters = {views_.parameter(prefix + "swiglu.gate.weight"),
                                             views_.parameter(prefix + "swiglu.up.weight"),
                                             views_.parameter(prefix + "swiglu.down.weight")};
      return std::make_unique<Swiglu>(parameters, tools_, activations_);
    }
    case config::FeedForward::kGroupedKan:
      return make_grouped(prefix + "grouped_kan.");
    case config::FeedForward::kRationalKan:
      return make_rational(prefix + "rational_kan.");
    case config::FeedForward::kHybrid:
      break;
  }
  throw InternalError("model.feed_forward has no such value");
}

std::unique_ptr<Sublayer> FeedForwardFactory::make_grouped(const std::string& prefix) const {
  const auto function = [&](const char* place) {
    return std::make_unique<ChebyshevFunction>(views_.parameter(prefix + place + ".coefficients"), activations_);
  };
  return std::make_unique<GroupKan>(GroupKan::Functions{function("input"), function("hidden")},
                                    GroupKan::Layers{views_.layer(prefix + "up"), views_.layer(prefix + "down")},
                                    tools_);
}

std::unique_ptr<Sublayer> FeedForwardFactory::make_rational(const std::string& prefix) const {
  const auto function = [&](const std::string& place) {
    const operations::RationalCoefficients coefficients = {views_.parameter(prefix + place + ".numerator"),
                                                           views_.parameter(prefix + place + ".denominator")};
    return std::make_unique<RationalFunction>(coefficients, activations_);
  };
  return std::make_unique<GroupKan>(GroupKan::Functions{function("input"), function("hidden")},
                                    GroupKan::Layers{views_.layer(prefix + "up"), views_.layer(prefix + "down")},
                                    tools_);
}

}  // namespace kangpt::model
