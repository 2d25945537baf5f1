"""What a run writes, and how runs become tables, figures and a report.

The modules are imported one by one (``from tl_lab.results.report.writing import write_report``), so that the report
and the console need neither torch nor Lightning.
"""
