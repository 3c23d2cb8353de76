"""Configuration of a KAN-GPT network, as `kangpt_checkpoint export --format huggingface` writes it."""
from transformers.configuration_utils import PretrainedConfig

MIXERS = ("attention", "convmod", "conv", "dilated_conv", "separable_conv", "deformable_conv")
FEED_FORWARDS = ("kan", "mlp", "hybrid", "swiglu", "grouped_kan", "rational_kan")


class KanGptConfig(PretrainedConfig):
    """Names of the Hugging Face convention where it has one, else those of the trainer's configuration.

    context_length: tokens that the network sees at once; rows of the position embedding beyond it are untrained.
    mixer: a name, or a list of names that are cycled over the layers.
    dilation: of the taps of dilated_conv and deformable_conv, cycled over the layers; empty: 1.
    kan_groups: of channels with one function each, in grouped_kan and rational_kan.
    """

    model_type = "kangpt"

    def __init__(self, vocab_size=50257, max_position_embeddings=64, context_length=None, data_mode="packed",
                 hidden_size=128, num_hidden_layers=16, num_attention_heads=8, head_dim=16, mixer="attention",
                 kernel_size=11, dilation=(), offset_groups=8, max_offset=16.0, feed_forward="kan", kan_degree=4,
                 kan_groups=8, intermediate_size=768, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
                 final_norm=True, initializer_range=0.02, **others):
        for name in [mixer] if isinstance(mixer, str) else mixer:
            if name not in MIXERS:
                raise ValueError(f"mixer is {name!r}, must be one of {', '.join(MIXERS)}")
        if feed_forward not in FEED_FORWARDS:
            raise ValueError(f"feed_forward is {feed_forward!r}, must be one of {', '.join(FEED_FORWARDS)}")
        if hidden_act != "gelu_pytorch_tanh":
            raise ValueError(f"hidden_act is {hidden_act!r}, must be gelu_pytorch_tanh")
        self.vocab_size = vocab_size
        self.max_position_embeddings = max_position_embeddings
        self.context_length = context_length or max_position_embeddings
        self.data_mode = data_mode
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim
        self.mixer = mixer if isinstance(mixer, str) else list(mixer)
        self.kernel_size = kernel_size
        self.dilation = list(dilation)
        self.offset_groups = offset_groups
        self.max_offset = max_offset
        self.feed_forward = feed_forward
        self.kan_degree = kan_degree
        self.kan_groups = kan_groups
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.layer_norm_eps = layer_norm_eps
        self.final_norm = final_norm
        self.initializer_range = initializer_range
        others.setdefault("tie_word_embeddings", False)
        others.setdefault("use_cache", False)
        super().__init__(**others)

    def layer_mixer(self, layer):
        return self.mixer if isinstance(self.mixer, str) else self.mixer[layer % len(self.mixer)]

    def layer_feed_forward(self, layer):
        return ("mlp", "kan")[layer % 2] if self.feed_forward == "hybrid" else self.feed_forward

    def layer_dilation(self, layer):
        if self.layer_mixer(layer) not in ("dilated_conv", "deformable_conv") or not self.dilation:
            return 1
        return self.dilation[layer % len(self.dilation)]
