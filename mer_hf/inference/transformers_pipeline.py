"""`pipeline("micro-expression-recognition")`: the whole path among the pipelines of transformers."""

from typing import Any

from transformers import AutoModelForVideoClassification, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

TASK = "micro-expression-recognition"
"""Known to `transformers.pipeline` from the first import of this module on."""


class MicroExpressionRecognitionPipeline(Pipeline):
    """A video goes in; outcome, class, phases and action units come out.

    It is [`MicroExpressionPipeline`] with the interface of transformers: a list of videos gives a list of
    answers. A video is a file, a folder of numbered frames or an array `(T, H, W, 3)`, uint8 RGB. With a
    call, `onset`, `apex` and `offset` give frames that are known, and `fps` the frames per second of videos
    without times.

    Each answer is a dict, that of [`Prediction.to_dict`].
    """

    _load_processor = False
    _load_image_processor = True
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args, **kwargs):
        from .pipeline import MicroExpressionPipeline

        super().__init__(*args, **kwargs)
        self._whole = MicroExpressionPipeline.of(self.model, self.image_processor)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        unknown = sorted(set(options) - {"onset", "apex", "offset", "fps"})
        if unknown:
            raise TypeError(f"unknown argument {unknown[0]}. Accepted: onset, apex, offset, fps.")
        return options, {}, {}

    def preprocess(self, input_, **options: Any) -> dict[str, Any]:
        """Pass the video on."""
        return {"clip": input_, **options}

    def _forward(self, input_tensors: dict[str, Any]) -> dict[str, Any]:
        return self._whole(**input_tensors).to_dict()

    def postprocess(self, model_outputs: dict[str, Any]) -> dict[str, Any]:
        """Pass the answer on."""
        return model_outputs


PIPELINE_REGISTRY.register_pipeline(
    TASK,
    pipeline_class=MicroExpressionRecognitionPipeline,
    pt_model=AutoModelForVideoClassification,
    type="video",
)
