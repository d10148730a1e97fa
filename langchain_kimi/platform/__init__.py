"""`KimiPlatform`: files, batches, balance, models and token counts of Kimi's platform."""

from langchain_kimi._endpoints import Balance, Batch, KimiFile, ModelInfo
from langchain_kimi.platform.batches import KimiBatches
from langchain_kimi.platform.client import KimiPlatform, TokenCount
from langchain_kimi.platform.files import KimiFiles

__all__ = ["Balance", "Batch", "KimiBatches", "KimiFile", "KimiFiles", "KimiPlatform", "ModelInfo", "TokenCount"]
