"""PyYAML, which only the test kit's files need."""

from types import ModuleType


def load_pyyaml() -> ModuleType:
    """The module. Raises ImportError, which says what to install."""
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(
            "Cassettes and scripts in YAML need PyYAML. Install it with `pip install 'langchain-kimi-agent[testing]'`."
        ) from error
    module: ModuleType = yaml
    return module
