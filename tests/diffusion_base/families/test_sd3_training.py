"""The kit, which knows no UNet, trains a LoRA on a flow."""

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from peft import get_peft_model_state_dict

from diffusion_base.conditioning import encode_prompts
from diffusion_base.generation import generate
from diffusion_base.noising import draw_noise, per_sample_generator
from diffusion_base.training.loop import begin, train
from tests.diffusion_base.toy import toy_arguments
from tests.diffusion_base.training.test_denoisers import DenoiserTask, Pictures
from tests.tiny import tiny_pipeline

QUICK = {"num_inference_steps": 2, "progress": False}


class FlowTask(DenoiserTask):
    def save(self, folder):
        # with its configuration: else it opens with another scale
        facts = self.denoiser.peft_config["default"].to_dict()
        state = get_peft_model_state_dict(self.denoiser)
        StableDiffusion3Pipeline.save_lora_weights(folder, state, transformer_lora_adapter_metadata=facts)


def batch_of(indices, step):
    items = [Pictures().item(i, np.random.default_rng(i)) for i in indices]
    latents, prompts = torch.stack([item["latents"] for item in items]), [item["prompt"] for item in items]
    steps = torch.full((len(indices),), step)
    return {"latents": latents, "prompt": prompts, "step": steps, "index": torch.tensor(indices)}


def test_the_loss_is_the_papers():
    """‖v − (ε − x_0)‖² at x = (1 − σ) x_0 + σ ε, where σ = 3s/(1 + 2s), s = 1 − u, u = sigmoid(z), z ~ N(0, 1)."""
    pipeline = tiny_pipeline("sd3")
    task, batch = FlowTask(pipeline), batch_of([1, 6], step=4)
    loss, metrics = task(batch)
    assert metrics["drift"].tolist() == [0, 0]  # a LoRA begins as the base
    for row, index in enumerate([1, 6]):
        z = torch.randn(1, generator=per_sample_generator(0, 4, index, "timestep"))
        s = 1 - (1000 * z.sigmoid()).floor() / 1000
        sigma = 3 * s / (1 + 2 * s)
        noise, picture = draw_noise((4, 8, 8), 0, [4], [index]), batch["latents"][row : row + 1]
        text = encode_prompts(pipeline, ["a nurse"])
        v = pipeline.transformer(
            (1 - sigma) * picture + sigma * noise,
            timestep=1000 * sigma,
            encoder_hidden_states=text.embeds,
            pooled_projections=text.pooled,
        ).sample
        torch.testing.assert_close(loss[row], (v - (noise - picture)).square().mean())


def test_two_steps_train_the_lora_alone_and_its_file_opens_elsewhere(tmp_path):
    pipeline = tiny_pipeline("sd3")
    base = generate(pipeline, ["a nurse"], [0], **QUICK)
    frozen = {name: tensor.clone() for name, tensor in pipeline.transformer.named_parameters()}
    arguments = toy_arguments(tmp_path, max_train_steps=2, learning_rate=0.1, lr_scheduler="constant")
    begin(arguments)
    task = FlowTask(pipeline)
    train(task, Pictures(), arguments)
    after = {name.replace(".base_layer", ""): tensor for name, tensor in pipeline.transformer.named_parameters()}
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())
    trained = generate(pipeline, ["a nurse"], [0], **QUICK)
    with task.reference():
        assert generate(pipeline, ["a nurse"], [0], **QUICK) == base != trained
    elsewhere = tiny_pipeline("sd3")
    elsewhere.load_lora_weights(tmp_path)
    assert generate(elsewhere, ["a nurse"], [0], **QUICK) == trained
