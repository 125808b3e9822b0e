"""The page: its parts, and what each event shows. Nothing is kept between events."""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from tfalexnet.demo.samples import draw_samples
from tfalexnet.demo.subject import PIXELS, TOWERS, Subject
from tfalexnet.images.opening import PictureError, is_address

AT_ONCE = 4  # Events that are computed at the same time; the others wait.
WAITING = 100  # Events that wait; more are refused.

INTRODUCTION = """# AlexNet, layer by layer
Drop, paste or take a photo. Click a class to see which parts of the photo raise its score.
"""
MAPS = "## Layer by layer"
FILTERS = "## Filters of the first convolution"


def build_page(subjects: Sequence[Subject], folder: Path) -> gr.Blocks:
    """Return the page for one set of weights, or for two side by side.

    Args:
        subjects: the weights.
        folder: takes the sample pictures.
    """
    names = [subject.name for subject in subjects]
    names = names if len(set(names)) == len(names) else [f"{name} ({number})" for number, name in enumerate(names, 1)]
    by_name = dict(zip(names, subjects, strict=True))
    paths = draw_samples(folder)
    with gr.Blocks(title="AlexNet", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                photo = _photo()
                samples = gr.Gallery(
                    paths,
                    label="Pictures to try",
                    columns=2,
                    height="auto",
                    buttons=[],
                    allow_preview=False,
                    elem_id="samples",
                )
            labels = [_label(name, subject) for name, subject in by_name.items()]
            heatmap = picture_output("Heatmap of a class", "heatmap")
        gr.Markdown(MAPS)
        chosen = gr.Radio(names, value=names[0], label="Weights", visible=len(names) > 1, elem_id="weights")
        layer = gr.Radio(subjects[0].layers, value=PIXELS, label="Layer", elem_id="layer")
        layer.preprocess = lambda name: name  # Else it must be of the first weights, once the session is forgotten.
        caption = gr.Markdown("Give a photo first.", elem_id="caption")
        maps = picture_output("Maps", "maps", height=560)
        heading = gr.Markdown(FILTERS)
        kernels = picture_output("Filters", "filters", height=560)

        def predict(photo: str | None) -> Any:
            answers = [_answer(subject, photo) if photo else None for subject in subjects]
            return answers[0] if len(answers) == 1 else answers

        def show_maps(photo: str | None, name: str, layer: str) -> tuple[str, np.ndarray | None]:
            if photo is None:
                return "Give a photo first.", None
            picture, text = _explained(by_name[name].maps, photo, layer)
            return f"**{layer}**: {text}", picture.squeeze()

        def show_filters(name: str) -> tuple[str, np.ndarray]:
            subject = by_name[name]
            towers = f"; {TOWERS}" if subject.towers > 1 else ""
            return f"{FILTERS}\n{name}; mid-grey is 0{towers}", subject.filters().squeeze()

        def show_layers(name: str, layer: str) -> Any:
            layers = by_name[name].layers
            return gr.Radio(layers, value=layer if layer in layers else PIXELS)

        private = {"api_visibility": "private", "show_progress": "hidden"}
        inputs, shown, filters = [photo, chosen, layer], [caption, maps], [heading, kernels]
        description = f"The five best classes of a photo and their probabilities, by {' and by '.join(names)}."
        answered = photo.change(predict, photo, labels, api_name="predict", api_description=description)
        photo.change(lambda: None, None, heatmap, **private)
        answered.success(show_maps, inputs, shown, **private)
        answered.failure(lambda: [None] * (len(labels) + 1), None, [*labels, maps], **private)
        samples.select(_sample(paths), None, photo, **private)
        for subject, label in zip(subjects, labels, strict=True):
            label.select(_heatmap(subject), photo, heatmap, api_visibility="private")
        layer.input(show_maps, inputs, shown, **private)
        selected = chosen.input(show_layers, [chosen, layer], layer, **private)
        selected.then(show_maps, inputs, shown, **private).then(show_filters, chosen, filters, **private)
        page.load(show_filters, chosen, filters, **private)
    return page.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE, api_open=False)


def _photo() -> gr.Image:
    """Return the input. Its value is the uploaded file as it is: `tfalexnet.images` opens it, within its bounds.

    The methods are those of this object, not of a class: Gradio writes a file beside the source of a new class. An
    event that returns an update of the component, as `gr.Examples` does, would replace the object by one without them.
    """
    photo = gr.Image(type="filepath", sources=["upload", "clipboard", "webcam"], label="Photo", elem_id="photo")
    store = photo.async_move_resource_to_block_cache

    async def store_file(path: str | Path | None) -> str | None:
        if path and is_address(str(path)):
            raise gr.Error("Expected a file. Received an address; download it first.", print_exception=False)
        return await store(path)

    photo.async_move_resource_to_block_cache = store_file
    photo.preprocess = lambda payload: payload and payload.path
    return photo


def _label(name: str, subject: Subject) -> gr.Label:
    return gr.Label(label=f"{name}: {subject.spec.architecture.name}", elem_classes="answer", min_width=260)


def picture_output(label: str, name: str, height: int | None = None) -> gr.Image:
    """Return an output. Each picture that it shows has a file of its own.

    Gradio (6.31) names a file after its content, and writes it again for the next session while the first still reads
    it: a browser in a thousand received half a picture.
    """
    buttons = ["download", "fullscreen"]
    picture = gr.Image(label=label, elem_id=name, format="png", interactive=False, buttons=buttons, height=height)
    store = picture.postprocess

    def store_apart(pixels: np.ndarray | None) -> Any:
        if pixels is None:
            return None
        image = Image.fromarray(pixels.squeeze())
        image.info["session"] = uuid.uuid4().hex  # Gradio writes it into the file.
        return store(image)

    picture.postprocess = store_apart
    return picture


def _explained(function: Callable, photo: str, *arguments: Any) -> Any:
    """Call a function with a photo; the error of one that cannot be read becomes a message on the page."""
    try:
        return function(photo, *arguments)
    except PictureError as error:
        message = f"{Path(photo).name}: {error.reason}"
        raise gr.Error(message, duration=None, title="Not answered", print_exception=False) from None


def _answer(subject: Subject, photo: str) -> dict[str, float]:
    predictions = _explained(subject.answer, photo)
    return {subject.labels[prediction.index]: prediction.score for prediction in predictions}


def _sample(paths: Sequence[Path]) -> Callable:
    def show_sample(event: gr.SelectData) -> Path:
        return paths[event.index]

    return show_sample


def _heatmap(subject: Subject) -> Callable:
    def show_heatmap(photo: str | None, event: gr.SelectData) -> np.ndarray | None:
        return _explained(subject.heatmap, photo, event.value) if photo else None

    return show_heatmap
