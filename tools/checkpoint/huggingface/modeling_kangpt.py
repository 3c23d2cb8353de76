"""The KAN-GPT network in PyTorch, for weights that `kangpt_checkpoint export --format huggingface` wrote.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

Every mixer is causal. `generate` computes the last `context_length` tokens anew for each token: positions are learnt, so
nothing can be kept once that window slides. Several prompts at once have to be padded on the left (the attention mask
says where): what is padded counts as lying before the beginning of the text.
"""
import math

import torch
from torch import nn
from torch.nn import functional
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import PreTrainedModel

from .configuration_kangpt import KanGptConfig


def shifted(u, back):
    """u [batch, time, channels], `back` positions later; 0 before the beginning."""
    return u if back == 0 else functional.pad(u, (0, 0, back, 0))[:, :u.size(1)]


class Attention(nn.Module):
    """Causal self-attention. heads * head_dim features, which need not be the width of the network."""

    def __init__(self, config, layer):
        super().__init__()
        features = config.num_attention_heads * config.head_dim
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, features)
        self.key = nn.Linear(config.hidden_size, features)
        self.value = nn.Linear(config.hidden_size, features)
        self.output = nn.Linear(features, config.hidden_size)

    def forward(self, u, present):
        def split(x):
            return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

        query, key, value = split(self.query(u)), split(self.key(u)), split(self.value(u))
        scores = query @ key.transpose(2, 3) / math.sqrt(query.size(3))
        time = u.size(1)
        visible = torch.ones(time, time, dtype=torch.bool, device=u.device).tril()
        if present is not None:
            # A padded row sees itself, so that its softmax is a number; nobody sees it.
            itself = torch.eye(time, dtype=torch.bool, device=u.device)
            visible = (visible & present.bool().unsqueeze(1)) | itself
            visible = visible.unsqueeze(1)
        weights = scores.masked_fill(~visible, -math.inf).softmax(3)
        return self.output((weights @ value).transpose(1, 2).flatten(2))


class Depthwise(nn.Module):
    """y[t, c] = bias[c] + sum over taps k of weight[c, k] u[t - k * dilation, c]."""

    def __init__(self, channels, taps, dilation=1):
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.zeros(channels, taps))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, u):
        y = self.bias.expand_as(u)
        for k in range(self.weight.size(1)):
            if k * self.dilation < u.size(1):
                y = y + self.weight[:, k] * shifted(u, k * self.dilation)
        return y


class ConvolutionalModulation(nn.Module):
    """output(depthwise(gelu(gate(u))) * value(u)), after Conv2Former."""

    def __init__(self, config, layer):
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.depthwise = Depthwise(config.hidden_size, config.kernel_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, u, present):
        activation = functional.gelu(self.gate(u), approximate="tanh")
        if present is not None:
            activation = activation * present.unsqueeze(2)
        return self.output(self.depthwise(activation) * self.value(u))


class Convolution(nn.Module):
    """The standard causal convolution, dilated or not; tap k meets the input k * dilation positions back."""

    def __init__(self, config, layer):
        super().__init__()
        self.dilation = config.layer_dilation(layer)
        self.weight = nn.Parameter(torch.zeros(config.hidden_size, config.hidden_size, config.kernel_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, u, present):
        reach = (self.weight.size(2) - 1) * self.dilation
        padded = functional.pad(u.transpose(1, 2), (reach, 0))
        return functional.conv1d(padded, self.weight.flip(2), self.bias, dilation=self.dilation).transpose(1, 2)


class SeparableConvolution(nn.Module):
    """pointwise(depthwise(u))."""

    def __init__(self, config, layer):
        super().__init__()
        self.depthwise = Depthwise(config.hidden_size, config.kernel_size)
        self.pointwise = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, u, present):
        return self.pointwise(self.depthwise(u))


class DeformableConvolution(nn.Module):
    """A depthwise convolution at learnt, fractional positions, never ahead of the present token, then pointwise.

    Tap k of group g lies delta = clamp(k * dilation + max_offset * tanh(o), 0, max_offset) positions back, and counts
    2 * sigmoid(z) times; o and z come from a causal separable convolution of the same input.
    """

    def __init__(self, config, layer):
        super().__init__()
        channels, taps = config.hidden_size, config.kernel_size
        self.groups = config.offset_groups
        self.dilation = config.layer_dilation(layer)
        self.max_offset = config.max_offset
        self.depthwise = Depthwise(channels, taps, self.dilation)  # only its parameters
        self.offset_depthwise = Depthwise(channels, taps, self.dilation)
        self.offset_pointwise = nn.Linear(channels, 2 * self.groups * taps)
        self.pointwise = nn.Linear(channels, channels)

    def forward(self, u, present):
        batch, time, channels = u.shape
        raw = self.offset_pointwise(self.offset_depthwise(u)).view(batch, time, 2, self.groups, -1)
        modulation = 2 * raw[:, :, 1].sigmoid()
        y = self.depthwise.bias.expand_as(u)
        by_group = u.view(batch, time, self.groups, -1)
        times = torch.arange(time, device=u.device).view(1, time, 1)
        for k in range(modulation.size(3)):
            wanted = k * self.dilation + self.max_offset * raw[:, :, 0, :, k].tanh()
            delta = wanted.clamp(0, self.max_offset)
            whole = delta.ceil().clamp(min=1)
            fraction = (whole - delta).unsqueeze(3)
            earlier = self.rows(by_group, times - whole.long())
            later = self.rows(by_group, times - whole.long() + 1)
            value = modulation[:, :, :, k].unsqueeze(3) * ((1 - fraction) * earlier + fraction * later)
            y = y + self.depthwise.weight[:, k] * value.reshape(batch, time, channels)
        return self.pointwise(y)

    @staticmethod
    def rows(by_group, times):
        """by_group [batch, time, groups, channels], times [batch, time, groups]; 0 before the beginning."""
        index = times.clamp(min=0).unsqueeze(3).expand(-1, -1, -1, by_group.size(3))
        return by_group.gather(1, index) * times.ge(0).unsqueeze(3)


MIXERS = {"attention": ("attention", Attention), "convmod": ("convmod", ConvolutionalModulation),
          "conv": ("conv", Convolution), "dilated_conv": ("conv", Convolution),
          "separable_conv": ("separable", SeparableConvolution), "deformable_conv": ("deformable", DeformableConvolution)}


class ChebyKan(nn.Module):
    """y[o] = sum over inputs i and degrees d of T_d(tanh(u[i])) coefficients[i, o, d], T_d of Chebyshev."""

    def __init__(self, config):
        super().__init__()
        channels = config.hidden_size
        self.coefficients = nn.Parameter(torch.zeros(channels, channels, config.kan_degree + 1))

    def forward(self, u):
        t = torch.tanh(u)
        polynomials = [torch.ones_like(t), t]
        while len(polynomials) < self.coefficients.size(2):
            polynomials.append(2 * t * polynomials[-1] - polynomials[-2])
        basis = torch.stack(polynomials, dim=-1).flatten(-2)  # [batch, time, inputs * (degree + 1)]
        return basis @ self.coefficients.transpose(1, 2).flatten(0, 1)


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, u):
        return self.down(functional.gelu(self.up(u), approximate="tanh"))


class SwiGlu(nn.Module):
    """down(silu(gate(u)) * up(u)), without biases."""

    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, u):
        return self.down(functional.silu(self.gate(u)) * self.up(u))


def of_channels(coefficients, channels):
    """[groups, terms] -> [terms, channels]: equal ranges of channels share a row."""
    return coefficients.repeat_interleave(channels // coefficients.size(0), 0).t()


class ChebyshevFunction(nn.Module):
    """sum over degrees d of coefficients[group, d] T_d(tanh(u))."""

    def __init__(self, config):
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(config.kan_groups, config.kan_degree + 1))

    def forward(self, u):
        coefficients = of_channels(self.coefficients, u.size(-1))
        t = torch.tanh(u)
        previous, current = torch.ones_like(t), t
        y = coefficients[0] + coefficients[1] * t
        for factor in coefficients[2:]:
            previous, current = current, 2 * t * current - previous
            y = y + factor * current
        return y


class RationalFunction(nn.Module):
    """(a_0 + a_1 u + ... + a_5 u^5) / (1 + |b_1 u + ... + b_4 u^4|)."""

    def __init__(self, config):
        super().__init__()
        self.numerator = nn.Parameter(torch.zeros(config.kan_groups, 6))
        self.denominator = nn.Parameter(torch.zeros(config.kan_groups, 4))

    def forward(self, u):
        def polynomial(coefficients):
            value = torch.zeros_like(u)
            for factor in of_channels(coefficients, u.size(-1)).flip(0):
                value = value * u + factor
            return value

        return polynomial(self.numerator) / (1 + (u * polynomial(self.denominator)).abs())


class GroupKan(nn.Module):
    """down(hidden(up(input(u)))): functions of single numbers, shared by groups of channels, then dense layers."""

    function = None

    def __init__(self, config):
        super().__init__()
        self.input = self.function(config)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.hidden = self.function(config)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, u):
        return self.down(self.hidden(self.up(self.input(u))))


class GroupedKan(GroupKan):
    function = ChebyshevFunction


class RationalKan(GroupKan):
    function = RationalFunction


FEED_FORWARDS = {"kan": ChebyKan, "mlp": Mlp, "swiglu": SwiGlu, "grouped_kan": GroupedKan, "rational_kan": RationalKan}


class Layer(nn.Module):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)). The parts are called as in the trainer's files."""

    def __init__(self, config, layer):
        super().__init__()
        self.mixer_name, mixer = MIXERS[config.layer_mixer(layer)]
        self.feed_forward_name = config.layer_feed_forward(layer)
        self.mixer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.add_module(self.mixer_name, mixer(config, layer))
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.add_module(self.feed_forward_name, FEED_FORWARDS[self.feed_forward_name](config))

    def forward(self, x, present):
        u = self.mixer_norm(x)
        if present is not None:
            u = u * present.unsqueeze(2)
        x = x + getattr(self, self.mixer_name)(u, present)
        return x + getattr(self, self.feed_forward_name)(self.feed_forward_norm(x))


class KanGptForCausalLM(PreTrainedModel, GenerationMixin):
    """Logits of the next token. The names of the parameters are those of the trainer's own files."""

    config_class = KanGptConfig
    main_input_name = "input_ids"
    _no_split_modules = ["Layer"]

    def __init__(self, config):
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        if config.final_norm:
            self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (Depthwise, Convolution)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            nn.init.zeros_(module.bias)
        elif isinstance(module, ChebyKan):
            inputs, _, degrees = module.coefficients.shape
            nn.init.normal_(module.coefficients, std=1 / (inputs * degrees))
        elif isinstance(module, GroupKan):
            self.set_first_functions(module)

    @staticmethod
    def set_first_functions(module):
        """x, or tanh(x) where it is bounded, then Swish by Pade's approximant of tanh, or tanh(x) sigmoid(2 x)."""
        with torch.no_grad():
            if isinstance(module, RationalKan):
                module.input.numerator.copy_(torch.tensor([0.0, 1, 0, 0, 0, 0]))
                module.hidden.numerator.copy_(torch.tensor([0, 1 / 2, 1 / 4, 3 / 56, 1 / 168, 1 / 3360]))
                module.input.denominator.zero_()
                module.hidden.denominator.copy_(torch.tensor([0, 3 / 28, 0, 1 / 1680]))
                return
            swish = [0.25, 0.5, 0.25] if module.hidden.coefficients.size(1) > 2 else [0.0, 1]
            for function, first in ((module.input, [0.0, 1]), (module.hidden, swish)):
                function.coefficients.zero_()
                function.coefficients[:, :len(first)] = torch.tensor(first)

    def get_input_embeddings(self):
        return self.token_embedding

    def set_input_embeddings(self, embeddings):
        self.token_embedding = embeddings

    def get_output_embeddings(self):
        return self.head

    def set_output_embeddings(self, head):
        self.head = head

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        window = self.config.context_length
        mask = None if attention_mask is None else attention_mask[:, -window:]
        return {"input_ids": input_ids[:, -window:], "attention_mask": mask}

    def forward(self, input_ids, attention_mask=None, labels=None, return_dict=None, **_):
        batch, time = input_ids.shape
        if time > self.config.max_position_embeddings:
            raise ValueError(f"{time} tokens; the network sees at most {self.config.context_length} at once")
        present = None if attention_mask is None or bool(attention_mask.all()) else attention_mask
        if present is None:
            positions = torch.arange(time, device=input_ids.device).expand(batch, time)
        else:
            positions = (present.cumsum(1) - 1).clamp(min=0)
            present = present.to(self.token_embedding.weight.dtype)
        x = self.token_embedding(input_ids) + self.position_embedding(positions)
        for layer in self.layers:
            x = layer(x, present)
        logits = self.head(self.final_norm(x) if self.config.final_norm else x)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return CausalLMOutput(loss=loss, logits=logits)
