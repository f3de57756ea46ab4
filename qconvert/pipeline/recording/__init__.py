"""From the values of the stages to the run record, and the record and model to files under their names.

`record.make_record` puts the record together, `details` and `sparsity` add to it, `baseline` reads an earlier one,
`reports` renders, and `publication.publish_run` renames everything into place.
"""
