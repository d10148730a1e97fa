"""A catalogue row as LangChain's model profile."""

from langchain_core.language_models import ModelProfile

from langchain_kimi.catalogue import Model


def profile_of(row: Model) -> ModelProfile:
    """The profile of a model."""
    profile = ModelProfile(
        name=row.id,
        max_input_tokens=row.context,
        max_output_tokens=row.output_limit,
        text_inputs=True,
        text_outputs=True,
        image_inputs="image" in row.inputs,
        video_inputs="video" in row.inputs,
        image_url_inputs=False,
        image_tool_message="image" in row.inputs,
        pdf_tool_message=False,
        pdf_inputs=False,
        audio_inputs=False,
        reasoning_output=row.thinking != "never",
        tool_calling=True,
        tool_call_streaming=True,
        tool_choice="required" in row.choices(row.thinking != "never"),
        structured_output=row.json_schema,
        temperature=not row.pinned(row.thinking != "never"),
    )
    if row.efforts:
        profile["reasoning_effort_levels"] = list(row.efforts)
        profile["reasoning_effort_default"] = row.default_effort or row.efforts[-1]
    return profile
