"""`KimiPlatform`: what Kimi's platform offers beside chat, for a person and for programs."""

from langchain_kimi._endpoints import Balance, Batch, KimiFile, ModelInfo
from langchain_kimi.platform.batches import Batches
from langchain_kimi.platform.client import KimiPlatform, TokenCount
from langchain_kimi.platform.files import Files

__all__ = ["Balance", "Batch", "Batches", "Files", "KimiFile", "KimiPlatform", "ModelInfo", "TokenCount"]
