"""The hypermodel of a pretrained BERT: how it is fine-tuned as a function of hyperparameters."""

from kerasllm.models import load_tokenizer
from kerasllm.models.presets import default_patience, make_classifier, make_schedule
from kerasllm.models.pretrained import find_folder
from kerasllm.models.pretrained.config_files import backbone_arguments, read_config
from kerasllm.optimizers import AdamW
from kerasllm.training.fine_tune import NO_WEIGHT_DECAY, freeze, layer_multipliers
from kerasllm.training.parameter_efficient import AdaptedModel, LoRA
from kerasllm.tuning.hypermodel import EPOCHS, TextClassifierHyperModel
from kerasllm.tuning.search_space import SearchSpace

PRESET = "bert"


class BertHyperModel(TextClassifierHyperModel):
    """A pretrained BERT and how it is fine-tuned, for Keras Tuner.

    The weights and the tokenizer are the folder's. What may vary is how they are trained, see
    `kerasllm.tuning.SEARCH_SPACES["bert"]`. Choices that the folder or the task does not allow,
    such as more tokens than it has positions for, are left out. With the defaults it is trained as
    the classification recipe's `--model bert` does.

    Examples:

    >>> hypermodel = BertHyperModel("hfl/chinese-macbert-base", TextTask(train_rows, valid_rows))
    >>> Search("runs/search", hypermodel, "bayesian", max_trials=20).run()

    Args:
        pretrained: The folder of the weights, or its name on the Hugging Face Hub.
        task: A `TextTask`.
        epochs: At most; by default as many as the space has. Hyperband sets them itself, for each
            trial.
        patience: Epochs without improvement after which a training stops.
        space: A `SearchSpace` of `"bert"`; the whole one by default.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; Keras's global one by default.

    Raises:
        FileNotFoundError: If a file of the folder is missing.
        ValueError: If one is damaged, or the space asks for more than the folder has.
    """

    judged_batch = 64

    def __init__(self, pretrained, task, epochs=None, patience=4, space=None, dtype=None):
        self.pretrained = pretrained
        folder = find_folder(pretrained)
        self.tokenizer = load_tokenizer(folder)
        sizes = backbone_arguments(read_config(folder))
        limits = {
            "max_length": min(task.max_length, sizes["max_length"]),
            "frozen_blocks": 1 if sizes["share_blocks"] else sizes["num_layers"],
        }
        if epochs is not None:
            limits["epochs"] = epochs
        space = (space or SearchSpace(PRESET)).limited(limits)
        epochs = epochs or max(space.dimensions["epochs"].values)
        super().__init__(PRESET, task, epochs, patience, space, dtype)

    def finished(self, model):
        """A trained model as the classification recipe leaves one: no adapters, nothing frozen."""
        model = model.merge() if isinstance(model, AdaptedModel) else model
        return freeze(model, embeddings=False)

    def scheduled_epochs(self, values):
        return values.get(EPOCHS) or values["epochs"]

    def of_recipe(self):
        recipe = self.replaced(epochs=None, space=SearchSpace(PRESET))
        values = recipe.space.defaults()
        return recipe.replaced(patience=default_patience(values["epochs"])), values

    def _identity(self):
        return {"pretrained": self.pretrained}

    def _encoded(self, values):
        return self.task.encoded_with(self.tokenizer, values["max_length"])

    def _model(self, values):
        model = make_classifier(
            PRESET,
            len(self.tokenizer),
            len(self.task.labels),
            pretrained=self.pretrained,
            dtype=self.dtype,
            **self.space.model_arguments(values),
        )
        if values["peft"] == "lora":
            return AdaptedModel(model, LoRA(values["lora_rank"]))
        if values["frozen_blocks"]:
            freeze(model, blocks=values["frozen_blocks"])
        return model

    def _optimizer(self, model, values, steps):
        adapted = values["peft"] == "lora"
        learning_rate = values["lora_learning_rate" if adapted else "learning_rate"]
        multipliers = None
        if not adapted and values["layer_decay"] != 1:
            multipliers = layer_multipliers(model, values["layer_decay"])
        return AdamW(
            make_schedule(PRESET, steps, learning_rate, values["warmup_share"]),
            weight_decay=values["weight_decay"],
            learning_rate_multipliers=multipliers,
            no_weight_decay=NO_WEIGHT_DECAY,
        )
