"""Images per second of decoding an archive into the cache, and the time to open it again."""

import argparse
import os
import tempfile
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archives", nargs="+", default=["synthetic"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MACL_RESULTS"] = folder  # a fresh cache
        from maclcore.data import load_archive

        for name in options.archives:
            for size in options.sizes:
                start = time.perf_counter()
                archive = load_archive(name, image_size=size, progress=False)
                built = time.perf_counter() - start
                start = time.perf_counter()
                load_archive(name, image_size=size, progress=False)
                again = time.perf_counter() - start
                n = len(archive.images)
                print(
                    f"{name:16}{size:4} px  {n} images in {built:6.1f} s  "
                    f"{n / built:6.0f} images/s  again {again:.2f} s"
                )


if __name__ == "__main__":
    main()
