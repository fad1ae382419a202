"""Fitting a temporal adapter to one's own footage, without labels: what `groundstream adapt` needs.

Clips (`clips`), how they are spoiled (`corruptions`, `spoil`), their frozen features (`features`), batches of
these, what is compared (`losses`, `naming`), and the loop (`fit`). It may import `nano` and `temporal`.
"""
