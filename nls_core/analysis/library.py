"""The models of a folder: which can be used, and those that are in memory."""

from __future__ import annotations

from collections import OrderedDict

from nls_core import families, zoo
from nls_core.analysis import choice, loaded
from nls_core.analysis.loaded import Loaded
from nls_core.analysis.timing import Told
from nls_core.errors import CheckpointError, NLSLabError
from nls_core.settings import Settings
from nls_core.types import Manifest


class Library:
    """Manifests of all models, and the models that were asked for last.

    `unusable` says of those that cannot be used why.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = settings.torch_device()
        self.unusable: dict[str, str] = {}
        self._models: OrderedDict[str, Loaded] = OrderedDict()
        # told how long parts of analyses took, by phase and by model
        self.on_phase: Told = lambda phase, seconds: None
        self.on_model: Told = lambda model_id, seconds: None

    def check_models(self) -> dict[str, str]:
        """Check all models as they are now; those that cannot be used are left out from here on.

        Returns:
            Their ids, and why.
        """
        checked = zoo.verify(self.settings.models_dir)
        self.unusable = {model_id: why for model_id, why in checked.items() if why is not None}
        return self.unusable

    def states(self) -> dict[str, str]:
        """Every model: 'ready', or why it cannot be used."""
        return {i: self._state(i) for i in zoo.available(self.settings.models_dir)}

    def _state(self, model_id: str) -> str:
        try:
            self.manifest(model_id)
        except NLSLabError as error:
            return str(error)
        return "ready"

    def ids(self, family: str | None = None) -> tuple[str, ...]:
        """The ids of all models that can be used, or of a family's."""
        there = zoo.available(self.settings.models_dir, family)
        return tuple(model_id for model_id in there if model_id not in self.unusable)

    def families(self) -> tuple[str, ...]:
        """The families that have models, in the order of menus."""
        return families.ordered(model_id.split("/")[0] for model_id in self.ids())

    def pair(self, family: str) -> tuple[str, str]:
        """The ids of a family's models that a comparison begins with, baseline first."""
        return choice.models(family, self.ids(family), self.manifest, self.settings.models_dir)

    def manifest(self, model_id: str) -> Manifest:
        """One model's manifest, without loading its weights."""
        if model_id in self.unusable:
            raise CheckpointError(self.unusable[model_id])
        known = self._models.get(model_id)
        if known and known.is_current(self.settings.models_dir):
            return known.manifest
        return zoo.read_manifest(model_id, self.settings.models_dir)

    def loaded(self, model_id: str) -> Loaded | None:
        """A model, if it is in memory."""
        return self._models.get(model_id)

    def in_memory(self) -> tuple[str, ...]:
        """The ids of the models that are loaded, the least recently used first."""
        return tuple(self._models)

    def hooks(self) -> int:
        """Hooks of the models that are loaded; any that stay after a computation are a leak."""
        modules = (m for each in tuple(self._models.values()) for m in each.model.modules())
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        return sum(len(getattr(module, kind)) for module in modules for kind in kinds)

    def load(self, model_id: str) -> Loaded:
        """A model, read when it is first asked for; only ever in the compute lane.

        The least recently used go once all take more than NLS_MAX_MODEL_BYTES.
        """
        if model_id not in self._models:
            self._models[model_id] = loaded.load(model_id, self.settings.models_dir, self.device)
        self._models.move_to_end(model_id)
        found = self._models[model_id]
        while sum(m.bytes for m in self._models.values()) > self.settings.max_model_bytes:
            if len(self._models) == 1:
                break
            self._models.popitem(last=False)
        return found
