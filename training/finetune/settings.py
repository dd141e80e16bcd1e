"""Everything that decides what fine-tuning learns."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FineTuneSettings(BaseModel):
    """The defaults suit some hundred photos and a pretrained ResNet; training/LOG.md has the measurements."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str | None = Field(None, description="the first layer that is trained, those above it too; None: all")
    epochs: int = Field(
        0, ge=0, description="at most; early stopping inside each fold chooses; 0: as many as `steps` gives"
    )
    steps: int = Field(300, ge=1, description="in training on all photos; gives the epochs, 10 at least and 30 at most")
    patience: int = Field(10, ge=1, description="epochs without a lower log loss before an inner run ends")
    batch: int = Field(16, ge=1, description="photos per step, over all processes together")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW's, of the head and the topmost layer")
    lowest_rate_share: float = Field(0.1, gt=0, le=1, description="the lowest layer's rate as a share of the topmost's")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's; none on biases and normalisation")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="share of all steps during which the rate rises")
    averaged_share: float = Field(
        0.1, ge=0, lt=1, description="share of all steps that the average of the weights reaches back"
    )
    blends: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0),
        min_length=1,
        description="how far to go from the first weights to the last, smallest first (Wortsman et al. 2022)",
    )
    clip_norm: float = Field(1.0, gt=0, description="a longer gradient is scaled down to this norm")
    low_precision: bool = Field(default=True, description="bfloat16 or float16 where the processor computes it")

    def for_photos(self, count: int) -> FineTuneSettings:
        """The same with `epochs` decided: more epochs for fewer photos."""
        epochs = round(self.steps * self.batch / count)
        return self if self.epochs else self.model_copy(update={"epochs": min(max(epochs, 10), 30)})
