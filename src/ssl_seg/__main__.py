"""`python -m ssl_seg` is `ssl-seg`: what `torchrun -m` and `accelerate launch -m` need."""

from ssl_seg.cli import main

if __name__ == "__main__":
    main()
