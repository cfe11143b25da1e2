"""`encore run` from a clone, as pods and experiments start it:

    python -m experiments.run --config=experiments/configs/encore_llama31_8b.py --workdir=gs://BUCKET/RUN

See `encore_jax.cli.run`.
"""

import sys

from encore_jax.cli.run import define_config, main

if __name__ == "__main__":
    define_config()
    main(sys.argv)
