"""The page of `tfalexnet demo`: photos, their answers, and what each layer makes of them. The extra is `demo`."""
