"""The shared Stable Diffusion base: one image, four doors. It knows no alignment method."""

import logging

# Pictures are processed by PIL everywhere (the two backends differ slightly), so the lack of torchvision is no news.
logging.getLogger("transformers.utils.import_utils").addFilter(lambda record: "torchvision" not in record.getMessage())
